package recorded

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Target is a server that knows the fixture.
type Target struct {
	Addr string
	// Reset brings the server back to the fixture; it is called before each case.
	// It may be nil: then the solutions of different cases are sent with different
	// proofs, of the same length, because a share counts once.
	Reset func(t *testing.T)
	// EnableMiner does what case 037 presumes, an operator enabling a miner between
	// two requests. DeleteWorker does it for case 047, whose worker's row vanishes.
	// Where they are nil the case runs without.
	EnableMiner  func(t *testing.T, address string)
	DeleteWorker func(t *testing.T, address, worker string)
}

// Run sends each case as recorded, on a connection of its own, and checks the
// answer, as subtests of t.
func Run(t *testing.T, target Target) {
	cases, fixture, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			request := c.Request
			if target.Reset != nil {
				target.Reset(t)
			} else {
				request = withOwnProof(c)
			}
			if strings.Contains(c.State, "same call once") {
				if _, _, err := Exchange(t.Context(), target.Addr, request); err != nil {
					t.Fatal(err)
				}
			}
			switch c.Name[:3] {
			case "037":
				if target.EnableMiner != nil {
					target.EnableMiner(t, fixture.Miners[2].Address)
				}
			case "047":
				if target.DeleteWorker != nil {
					target.DeleteWorker(t, fixture.Miners[0].Address, fixture.Miners[0].Works[1].Worker)
				}
			}
			status, body, err := Exchange(t.Context(), target.Addr, request)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Want.Check(status, body); err != nil {
				t.Error(err)
			}
		})
	}
}

// withOwnProof puts the case's number into its proof.
func withOwnProof(c Case) []byte {
	const proof = "0000000e5bced1fccc7110dfd386cf461b82852ce4eec5e124ca8f5e5bcc5a11"
	return bytes.ReplaceAll(c.Request, []byte(proof), []byte(proof[:len(proof)-3]+c.Name[:3]))
}

// Exchange sends a request on a connection of its own and reads until the server
// closes it. It fails where the answer's head is not as real clients need it.
func Exchange(ctx context.Context, addr string, request []byte) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := conn.Write(request); err != nil {
		return 0, "", fmt.Errorf("send: %w", err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return 0, "", fmt.Errorf("receive: %w", err)
	}
	head, body, ok := strings.Cut(string(answer), "\r\n\r\n")
	if !ok {
		return 0, "", fmt.Errorf("no head in %q", answer)
	}
	var rest string
	if _, err := fmt.Sscanf(head, "HTTP/1.1 %d %s", &status, &rest); err != nil {
		return 0, "", fmt.Errorf("status line of %q: %w", head, err)
	}
	for _, line := range []string{"Content-Length: " + strconv.Itoa(len(body)), "Connection: close"} {
		if !strings.Contains(head+"\r\n", "\r\n"+line+"\r\n") {
			return 0, "", fmt.Errorf("no line %q in %q", line, head)
		}
	}
	return status, body, nil
}
