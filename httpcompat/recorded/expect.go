package recorded

import (
	"fmt"
	"html"
	"regexp"
	"strings"
)

// Kind says how this pool's answer relates to the original's.
type Kind int

// The kinds of expectation.
const (
	Same        Kind = iota // the original's body
	BetterError             // an error in the protocol's form, where the original failed or took what cannot be paid
	Different               // another answer, on purpose
)

// Expectation is what this pool answers.
type Expectation struct {
	Kind   Kind
	Status int
	// Body is the answer's body. Identifiers that are random stand in it as they
	// were recorded, and are compared by their shape.
	Body string
	// Also is another body that is right too, or empty.
	Also string
	// Error matches the text of the error, where Kind is BetterError.
	Error *regexp.Regexp
	// Why is the reason of a difference.
	Why string
}

const (
	minerGUID = "11111111-1111-4111-8111-111111111111"
	anyUUID   = "00000000-0000-0000-0000-000000000000"
)

// grant is the answer to a request for work by the first miner on main.
var grant = "<RESPONSE> <ADDRESS>BLYpMhrivkozk8Tz4CfFrrKYnDeiGTJYAb</ADDRESS><HASHTARGET>" + HashTarget +
	"</HASHTARGET><MINERGUID>" + minerGUID + "</MINERGUID><WORKID>" + anyUUID + "</WORKID></RESPONSE>"

func errorBody(text string) string {
	m := html.EscapeString(text)
	return "<RESPONSE>" + m + "</RESPONSE><ERROR>" + m + "</ERROR><EOF>"
}

func better(text, why string) Expectation {
	return Expectation{Kind: BetterError, Status: 200, Error: regexp.MustCompile(text), Why: why}
}

func invalidWorker(id, why string) Expectation {
	return better("^WorkerID "+regexp.QuoteMeta(id)+" is invalid", why)
}

func different(body, why string) Expectation {
	return Expectation{Kind: Different, Status: 200, Body: body, Why: why}
}

const (
	whyFailed = "the original answered with an error page"
	whyUnpaid = "no share of this kind can ever be paid"
)

// differences are all cases with another answer than the original's, by number.
var differences = map[string]Expectation{
	"004": different(errorBody("UNKNOWN ACTION <script>alert(1)</script>"), "what is echoed is escaped"),
	"016": invalidWorker("/", whyFailed),
	"017": invalidWorker("//", whyFailed),
	"026": invalidWorker("B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxxx/rig1", whyFailed),
	"028": invalidWorker("X91RjV9UoZa5qLNbWZFXJ42sFWbJCyxxxx/rig1", whyFailed),
	"029": invalidWorker("B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxxx-/rig1", whyFailed),
	"031": invalidWorker("B000000000000000000000000000000000", "an address with a wrong checksum cannot be paid"),
	"032": invalidWorker("ybZfedpL4Qpb9btqoZoRywK92P4HecTG4p", "an address of another network cannot be paid"),
	"037": {
		Kind: Different, Status: 200, Also: strings.Replace(grant, minerGUID, "33333333-3333-4333-8333-333333333333", 1),
		Body: errorBody("Miner BAjSAKyJzMsPq9g4RUwHdjSo9XPKDqCir9 is disabled"),
		Why:  "a miner that is enabled again gets work within a minute, not within five",
	},
	"043": different(grant, "a long worker name is cut"),
	"044": different(grant, "a worker name may hold a tab"),
	"047": different(grant, "a worker whose row is gone is written again"),
	"052": different(grant, "a long ThreadID is cut"),
	"056": different(grant, "a long Agent is cut"),
	"061": different(grant, "a port in X-Forwarded-For does no harm"),
	"062": different(grant, "a trailing comma in X-Forwarded-For does no harm"),
	"080": {Kind: Different, Status: 404, Why: "there is one spelling of the page"},
	"088": better("^Invalit Solution$", whyFailed),
	"089": better("^Invalit Solution$", whyFailed),
	"091": better("^Solution is invalid", whyUnpaid),
	"097": better("^Solution is invalid", whyUnpaid),
	"098": better("^Work ffffffff-0000-4000-8000-00000000ffff was not given to ", whyUnpaid),
	"101": better("^Work aaaaaaaa-0000-4000-8000-000000000001 was not given to ", "a share belongs to the miner who was given the work"),
	"103": better("^Solution is invalid", whyUnpaid),
}

func expectation(c Case) Expectation {
	number, _, _ := strings.Cut(c.Name, "-")
	if e, ok := differences[number]; ok {
		return e
	}
	return Expectation{Kind: Same, Status: c.Status, Body: c.Body}
}

var (
	workID    = regexp.MustCompile(`<WORKID>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}</WORKID></RESPONSE>$`)
	errorText = regexp.MustCompile(`^<RESPONSE>([^<]+)</RESPONSE><ERROR>([^<]+)</ERROR><EOF>$`)
)

// shape replaces the random work id of a grant.
func shape(body string) string {
	return workID.ReplaceAllString(body, "<WORKID>"+anyUUID+"</WORKID></RESPONSE>")
}

// Check tells what is wrong with an answer.
func (e Expectation) Check(status int, body string) error {
	if status != e.Status {
		return fmt.Errorf("status is %d, want %d", status, e.Status)
	}
	if e.Kind != BetterError {
		if got := shape(body); got != shape(e.Body) && (e.Also == "" || got != shape(e.Also)) {
			return fmt.Errorf("body is\n%s\nwant\n%s", body, e.Body)
		}
		return nil
	}
	m := errorText.FindStringSubmatch(body)
	if m == nil || m[1] != m[2] {
		return fmt.Errorf("body is no error of the protocol: %s", body)
	}
	if text := html.UnescapeString(m[1]); !e.Error.MatchString(text) {
		return fmt.Errorf("error is %q, want %s", text, e.Error)
	}
	return nil
}
