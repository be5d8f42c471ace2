package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

// rest speaks to a server over HTTP.
type rest struct {
	cfg    *UpstreamConfig
	model  string // the model's address, without a slash at the end
	server string // the server's, up to /v2
	remote string
	client *http.Client
}

// mostText bounds metadata and errors.
const mostText = 1 << 20

func newREST(u *url.URL, cfg *UpstreamConfig) (wire, string, error) {
	model := strings.TrimSuffix(u.String(), "/")
	at := strings.LastIndex(model, "/v2/models/")
	if at < 0 {
		return nil, "", errors.New("its path is not .../v2/models/NAME")
	}
	parts := strings.Split(model[at+len("/v2/models/"):], "/")
	name, err := url.PathUnescape(parts[0])
	if err != nil || name == "" || len(parts) != 1 && (len(parts) != 3 || parts[1] != "versions" || parts[2] == "") {
		return nil, "", errors.New("its path is not .../v2/models/NAME or .../versions/VERSION")
	}
	r := &rest{cfg: cfg, model: model, server: model[:at] + "/v2", remote: name}
	r.client = &http.Client{
		// A redirect could lead the request and its token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     newTransport(u, cfg),
	}
	return r, name, nil
}

func (r *rest) close() error {
	r.client.CloseIdleConnections()
	return nil
}

// do sends a request once and returns the answer if its status is 200.
func (r *rest) do(ctx context.Context, method, address string, header http.Header, body io.Reader, length int64) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, err
	}
	q.ContentLength = length
	for name, v := range header {
		q.Header[name] = v
	}
	q.Header.Set("User-Agent", "redoubt")
	if t := traceparent(ctx); t != "" {
		q.Header.Set("Traceparent", t)
	}
	if r.cfg.Token != "" {
		q.Header.Set("Authorization", "Bearer "+r.cfg.Token)
	}
	a, err := r.client.Do(q)
	if err != nil {
		return nil, err
	}
	if a.StatusCode == http.StatusOK {
		return a, nil
	}
	defer a.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(a.Body, mostText)) // what has come tells enough
	return nil, r.refusal(a.StatusCode, text)
}

// refusal reads the error of a server, which most send as {"error": "..."} and
// MLServer's validation as {"detail": [{"msg": "..."}]}.
func (r *rest) refusal(status int, body []byte) *oip.Error {
	said := fmt.Sprintf("status %d", status)
	var protocol struct{ Error string }
	var validation struct{ Detail []struct{ Msg string } }
	if json.Unmarshal(body, &protocol) == nil && protocol.Error != "" {
		said = protocol.Error
	} else if json.Unmarshal(body, &validation) == nil && len(validation.Detail) > 0 {
		said = validation.Detail[0].Msg
	}
	kinds := map[int]oip.Code{
		http.StatusBadRequest: oip.BadInput, http.StatusUnprocessableEntity: oip.BadInput, http.StatusRequestEntityTooLarge: oip.TooLarge,
		http.StatusNotImplemented: oip.Unsupported, http.StatusGatewayTimeout: oip.Deadline, http.StatusRequestTimeout: oip.Deadline,
		// The route and its credentials are ours: our client can do nothing about
		// them, and learns nothing of them.
		http.StatusUnauthorized: oip.Unavailable, http.StatusForbidden: oip.Unavailable, http.StatusNotFound: oip.Unavailable,
		http.StatusTooManyRequests: oip.Unavailable, http.StatusServiceUnavailable: oip.Unavailable, http.StatusBadGateway: oip.Unavailable,
	}
	e := r.cfg.refusal(kinds[status], said, r.remote)
	e.Err = fmt.Errorf("status %d: %w", status, e.Err)
	return e
}

func (r *rest) document(ctx context.Context, address string, into any) error {
	a, err := r.do(ctx, http.MethodGet, address, nil, nil, 0)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	body, err := oip.ReadBody(a.Body, nil, a.ContentLength, oip.Limits{Body: mostText})
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil && ctx.Err() == nil {
		return wrongAnswer(fmt.Errorf("read %s: %w", address, err))
	}
	return err
}

func (r *rest) describe(ctx context.Context) (*described, error) {
	d := &described{metadata: &oip.Metadata{}}
	if err := r.document(ctx, r.model, d.metadata); err != nil {
		return nil, err
	}
	if err := checkDescription(d.metadata); err != nil {
		return nil, wrongAnswer(err)
	}
	var server oip.ServerMetadata
	err := r.document(ctx, r.server, &server)
	var refused *oip.Error
	if err != nil && !errors.As(err, &refused) {
		return nil, err
	}
	// A server that keeps its own metadata to itself is asked in JSON, which all
	// of them take.
	d.binary = !r.cfg.JSON && slices.ContainsFunc(server.Extensions, func(s string) bool { return strings.HasPrefix(s, "binary_tensor") })
	return d, nil
}

func (r *rest) prepare(q *oip.Request, d *described) (func(context.Context) (*oip.Response, error), error) {
	m, err := oip.EncodeRequest(q, d.binary)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (*oip.Response, error) { return r.infer(ctx, m) }, nil
}

func (r *rest) infer(ctx context.Context, m *oip.Message) (*oip.Response, error) {
	header := http.Header{"Content-Type": {"application/json"}}
	parts := []io.Reader{bytes.NewReader(m.JSON)}
	if m.Binary != nil {
		header.Set("Content-Type", "application/octet-stream")
		header.Set("Inference-Header-Content-Length", strconv.Itoa(len(m.JSON)))
		for _, b := range m.Binary {
			parts = append(parts, bytes.NewReader(b))
		}
	}
	body := struct{ io.Reader }{io.MultiReader(parts...)} // its WriteTo would make a large buffer for each call
	a, err := r.do(ctx, http.MethodPost, r.model+"/infer", header, body, m.Len())
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	out, err := oip.ReadResponse(a, oip.Limits{Body: r.cfg.MaxResponse})
	if err != nil && ctx.Err() == nil {
		return nil, wrongAnswer(err)
	}
	return out, err
}

func (r *rest) ready(ctx context.Context) error {
	a, err := r.do(ctx, http.MethodGet, r.model+"/ready", nil, nil, 0)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(a.Body, mostText)) // so that the connection may be used again
	return nil
}
