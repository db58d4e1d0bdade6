package web

import (
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// object is a JSON object of the OpenAPI document. encoding/json writes its keys
// in order, so that the document is the same every time.
type object map[string]any

func (s *Server) apiRoutes() []apiRoute { return apiRoutes() }

func (s *Server) openAPIDocument(q *request) int {
	a := s.newAnswer(http.StatusOK, "application/json", s.openAPI, time.Hour)
	a.public = true
	return a.send(q.w, q.Request)
}

// describeAPI makes the OpenAPI document from the routes and the types of their
// answers, so that it says what is answered and nothing else.
func (s *Server) describeAPI() object {
	schemas := object{"Error": schemaOf(reflect.TypeFor[apiError](), nil)}
	paths := object{}
	for _, r := range apiRoutes() {
		paths[apiBase+r.Path] = object{"get": operation(r, schemas)}
	}
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": s.cfg.Title + " API", "version": "1",
			"description": "Amounts are whole satoshis (a hundred millionth of a coin), rates whole hashes a second, times RFC 3339 in UTC. " +
				"Numbers are some seconds old at most; ETag and Cache-Control are worth minding. Lists give the address of their next page in a Link header. " +
				"While the database is away the last known answer is given, with its age in seconds in X-Data-Age. Too many requests from one address are answered with 429.",
		},
		"paths":      paths,
		"components": object{"schemas": schemas},
	}
}

func operation(r apiRoute, schemas object) object {
	var params []any
	add := func(in, name, doc string, schema object, required bool) {
		params = append(params, object{"in": in, "name": name, "description": doc, "schema": schema, "required": required})
	}
	if strings.Contains(r.Path, "{network}") {
		add("path", "network", "Name of a network.", object{"type": "string"}, true)
	}
	if strings.Contains(r.Path, "{address}") {
		add("path", "address", "Address of a miner.", object{"type": "string"}, true)
	}
	for _, p := range r.Params {
		add("query", p.Name, p.Doc, object{"type": "string", "enum": p.Enum, "default": p.Enum[0]}, false)
	}
	if r.Paged {
		add("query", "limit", "How many at most.", object{"type": "integer", "minimum": 1, "maximum": maxLimit, "default": defaultLimit}, false)
		add("query", "before", "Where to go on; comes in the Link header of the page before.", object{"type": "string"}, false)
	}
	fails := func(text string) object {
		return object{"description": text, "content": object{"application/json": object{"schema": object{"$ref": "#/components/schemas/Error"}}}}
	}
	responses := object{
		"200": object{"description": r.Summary, "content": object{"application/json": object{"schema": schemaOf(reflect.TypeOf(r.answer), schemas)}}},
		"304": object{"description": "Nothing has changed since the ETag that was sent."},
		"404": fails("There is no such network or miner."),
		"429": fails("Too many requests."),
		"503": fails("The database is away and nothing is known yet."),
	}
	if r.Paged || len(r.Params) > 0 {
		responses["400"] = fails("A parameter is not as described.")
	}
	op := object{"summary": r.Summary, "operationId": operationID(r.Path), "responses": responses}
	if params != nil {
		op["parameters"] = params
	}
	return op
}

func operationID(path string) string {
	return "get_" + strings.Trim(strings.NewReplacer("{", "", "}", "", "/", "_").Replace(path), "_")
}

// schemaOf describes a type. Structs go to schemas and are referred to; with nil
// schemas they are described in place.
func schemaOf(t reflect.Type, schemas object) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t.Kind() == reflect.Pointer:
		inner := schemaOf(t.Elem(), schemas)
		if _, isRef := inner["$ref"]; isRef {
			return object{"anyOf": []any{inner, object{"type": "null"}}}
		}
		inner["type"] = []any{inner["type"], "null"}
		return inner
	}
	switch t.Kind() {
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int32, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice:
		return object{"type": "array", "items": schemaOf(t.Elem(), schemas)}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": schemaOf(t.Elem(), schemas)}
	}
	name := strings.TrimPrefix(t.Name(), "api")
	if schemas != nil {
		if _, known := schemas[name]; !known {
			schemas[name] = object{} // stands for itself while it is described
			schemas[name] = structSchema(t, schemas)
		}
		return object{"$ref": "#/components/schemas/" + name}
	}
	return structSchema(t, schemas)
}

func structSchema(t reflect.Type, schemas object) object {
	properties, required := object{}, []string{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		p := schemaOf(f.Type, schemas)
		p["description"] = f.Tag.Get("doc")
		if enum := f.Tag.Get("enum"); enum != "" {
			p["enum"] = strings.Split(enum, ",")
		}
		properties[name], required = p, append(required, name)
	}
	return object{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

// apiPageData is the page about the API.
type apiPageData struct {
	Base     string
	Limit    int
	MaxLimit int
	Rate     string
	Routes   []apiRouteView
	Types    []apiTypeView
}

type apiRouteView struct {
	Path, Summary, Answer, AnswerID string
	List                            bool
	Params                          []apiParam
	Paged                           bool
	Try                             string
}

type apiTypeView struct {
	ID, Name string
	Fields   []apiFieldView
}

type apiFieldView struct{ Name, Type, Doc string }

func (s *Server) apiPage(q *request) int {
	return s.show(q, "", func(b *builder) (*page, error) {
		d := &apiPageData{Base: apiBase, Limit: defaultLimit, MaxLimit: maxLimit, Rate: strconv.FormatFloat(s.cfg.RatePerIP, 'f', -1, 64)}
		seen := map[reflect.Type]bool{}
		for _, r := range apiRoutes() {
			t := reflect.TypeOf(r.answer)
			v := apiRouteView{Path: r.Path, Summary: r.Summary, Params: r.Params, Paged: r.Paged}
			if v.List = t.Kind() == reflect.Slice; v.List {
				t = t.Elem()
			}
			v.Answer, v.AnswerID = typeName(t), strings.ToLower(typeName(t))
			if !strings.Contains(r.Path, "{address}") {
				v.Try = apiBase + strings.ReplaceAll(r.Path, "{network}", b.network.Name)
			}
			d.Routes = append(d.Routes, v)
			d.addType(t, seen)
		}
		return &page{
			name: "api", Nav: "api", Title: "API", maxAge: time.Minute, Data: d,
			Description: "The pool's numbers as JSON.",
		}, nil
	})
}

func typeName(t reflect.Type) string { return strings.TrimPrefix(t.Name(), "api") }

func (d *apiPageData) addType(t reflect.Type, seen map[reflect.Type]bool) {
	if seen[t] {
		return
	}
	seen[t] = true
	v := apiTypeView{ID: strings.ToLower(typeName(t)), Name: typeName(t)}
	var inner []reflect.Type
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		text, part := describeType(f.Type)
		v.Fields = append(v.Fields, apiFieldView{name, text, f.Tag.Get("doc")})
		if part != nil {
			inner = append(inner, part)
		}
	}
	d.Types = append(d.Types, v)
	for _, part := range inner {
		d.addType(part, seen)
	}
}

// describeType names a type for people, and returns the struct in it.
func describeType(t reflect.Type) (string, reflect.Type) {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "time", nil
	case t.Kind() == reflect.Pointer:
		text, part := describeType(t.Elem())
		return text + " or null", part
	case t.Kind() == reflect.Slice:
		text, part := describeType(t.Elem())
		return "list of " + text, part
	case t.Kind() == reflect.Map:
		return "numbers by name", nil
	case t.Kind() == reflect.Struct:
		return typeName(t), t
	case t.Kind() == reflect.String:
		return "text", nil
	case t.Kind() == reflect.Bool:
		return "true or false", nil
	case t.Kind() == reflect.Float64:
		return "number", nil
	}
	return "whole number", nil
}
