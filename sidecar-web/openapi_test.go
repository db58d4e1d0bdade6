package web_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"purepool/ledger/ledgertest"
	"purepool/test/web/fixture"
)

// schema is a JSON Schema of the OpenAPI document, as far as that uses it.
type schema struct {
	Ref                  string             `json:"$ref"`
	Type                 any                `json:"type"`
	Format               string             `json:"format"`
	Enum                 []string           `json:"enum"`
	Properties           map[string]*schema `json:"properties"`
	Required             []string           `json:"required"`
	AdditionalProperties json.RawMessage    `json:"additionalProperties"`
	Items                *schema            `json:"items"`
	AnyOf                []*schema          `json:"anyOf"`
	Description          string             `json:"description"`
}

type document struct {
	OpenAPI string `json:"openapi"`
	Paths   map[string]map[string]struct {
		Summary    string
		Parameters []struct {
			In, Name, Description string
			Required              bool
		}
		Responses map[string]struct {
			Content map[string]struct{ Schema *schema }
		}
	}
	Components struct{ Schemas map[string]*schema }
}

// check says where a value is not what a schema describes.
func (d *document) check(at string, s *schema, v any) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, at+": "+fmt.Sprintf(format, args...)) }
	if s.Ref != "" {
		named := d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
		if named == nil {
			return []string{at + ": refers to nothing: " + s.Ref}
		}
		return d.check(at, named, v)
	}
	if len(s.AnyOf) > 0 {
		for _, one := range s.AnyOf {
			if len(d.check(at, one, v)) == 0 {
				return nil
			}
		}
		return []string{at + ": is none of what it may be"}
	}
	types, _ := s.Type.([]any)
	if one, ok := s.Type.(string); ok {
		types = []any{one}
	}
	kind := kindOf(v)
	if !slices.Contains(types, any(kind)) && !(kind == "integer" && slices.Contains(types, any("number"))) {
		fault("is %s, may be %v", kind, types)
		return faults
	}
	switch v := v.(type) {
	case string:
		if s.Format == "date-time" {
			if at, err := time.Parse(time.RFC3339, v); err != nil || at.Location() != time.UTC {
				fault("%q is no time in UTC", v)
			}
		}
		if len(s.Enum) > 0 && !slices.Contains(s.Enum, v) {
			fault("%q is none of %v", v, s.Enum)
		}
	case []any:
		for i, item := range v {
			faults = append(faults, d.check(fmt.Sprintf("%s[%d]", at, i), s.Items, item)...)
		}
	case map[string]any:
		for _, name := range s.Required {
			if _, there := v[name]; !there {
				fault("lacks %s", name)
			}
		}
		for name, item := range v {
			switch p := s.Properties[name]; {
			case p != nil:
				faults = append(faults, d.check(at+"."+name, p, item)...)
			case string(s.AdditionalProperties) == "false":
				fault("has %s, which is not described", name)
			default:
				var other schema
				if err := json.Unmarshal(s.AdditionalProperties, &other); err != nil {
					fault("%v", err)
				}
				faults = append(faults, d.check(at+"."+name, &other, item)...)
			}
		}
	}
	return faults
}

func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case []any:
		return "array"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	}
	return "object"
}

func TestEveryAnswerIsAsTheOpenAPIDocumentSays(t *testing.T) {
	db := ledgertest.New(t)
	addresses := fixture.Living(t, db, time.Now(), fixture.Options{Blocks: 20})
	h := newServer(t, config(), openStore(t, db.WebDSN())).Handler()
	var doc document
	if err := json.NewDecoder(ask(t, h, "GET", "/api/v1/openapi.json", nil, "").Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") || len(doc.Paths) < 11 {
		t.Fatalf("OpenAPI %s with %d paths", doc.OpenAPI, len(doc.Paths))
	}
	for path, methods := range doc.Paths {
		op := methods["get"]
		if op.Summary == "" || op.Responses["200"].Content["application/json"].Schema == nil {
			t.Errorf("%s is not described", path)
			continue
		}
		for _, p := range op.Parameters {
			if p.Description == "" || p.Required != (p.In == "path") {
				t.Errorf("%s: parameter %+v", path, p)
			}
		}
		for _, network := range []string{"main", "test", "bogus"} {
			for _, address := range []string{addresses[0], addresses[9], "bogus"} {
				target := strings.NewReplacer("{network}", network, "{address}", address).Replace(path)
				answer := ask(t, h, "GET", target, nil, "")
				var value any
				if err := json.NewDecoder(answer.Body).Decode(&value); err != nil {
					t.Errorf("%s: %v", target, err)
					continue
				}
				described, ok := op.Responses[fmt.Sprint(answer.StatusCode)]
				if !ok {
					t.Errorf("%s: status %d is not described", target, answer.StatusCode)
					continue
				}
				wantFound := (network == "main" || network == "test" && !strings.Contains(path, "{address}") || !strings.Contains(path, "{network}")) &&
					(address != "bogus" || !strings.Contains(path, "{address}"))
				if found := answer.StatusCode == http.StatusOK; found != wantFound {
					t.Errorf("%s: status %d", target, answer.StatusCode)
				}
				for _, fault := range doc.check(target, described.Content["application/json"].Schema, value) {
					t.Error(fault)
				}
			}
		}
	}
	for name, s := range doc.Components.Schemas {
		for property, p := range s.Properties {
			if p.Description == "" {
				t.Errorf("%s.%s is not explained", name, property)
			}
		}
	}
}
