package serve

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/identity"
	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/watch/audit"
)

const secretPhrase = "correct horse battery staple, twice over"

var socketUser = redoubt.Principal{ID: "local:0", Roles: []string{"security_admin"}, Method: "socket"}

// person enrols somebody, with one-time codes or without, and returns the account
// and the session's cookie.
func person(t *testing.T, s *Server, name, role string, second bool) (identity.Account, string) {
	t.Helper()
	a, secret, err := s.Identity().CreatePerson(t.Context(), socketUser, name, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	from := identity.Client{From: netip.MustParseAddr("127.0.0.1")}
	flow, code := "", ""
	if second {
		e, err := s.Identity().Enrolment(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
		key, err := otp.NewKeyFromURL(e.TOTP)
		if err != nil {
			t.Fatal(err)
		}
		if code, err = totp.GenerateCode(key.Secret(), time.Now()); err != nil {
			t.Fatal(err)
		}
		flow = e.Flow
	}
	cookie, _, err := s.Identity().EnrolPassword(t.Context(), secret, secretPhrase, flow, code, from)
	if err == nil {
		err = s.Identity().SetAccount(t.Context(), socketUser, a.ID, []string{role}, nil, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	// A change of roles ends sessions; sign in again.
	if _, err := s.Identity().Current(cookie); err != nil {
		t.Fatalf("the session of %s ended: %v", name, err)
	}
	return a, cookie
}

// operation is a request that has the form that an operation asks for, and what
// becomes of it: which callers get past the permissions. What they ask about is
// not there, so that nobody changes anything.
type operation struct {
	query, body string
	may         string // the callers' letters, as in TestOperations
}

// Everyone who is known is "uUaAdDsSmt": a model_user, an auditor, who deploys (a model_developer and, with a second factor, a model_admin) and
// a security_admin without and, in capitals, with a second factor; a machine that
// is a security_admin; a token of that administrator for models. Without a second factor,
// an administrator's session does nothing at all.
var operations = map[string]operation{
	"whoami":      {"", "", "uUaAdDSmt"},
	"list-models": {"", "", "uUaAdDSmt"}, // each sees what he may read

	// There is no registry, which those are told who may read or deploy.
	"get-model":       {"", "", "dD"},
	"put-weights":     {"", "", "D"},
	"push-version":    {"", `{"file":"a","digest":"b","signatures":[]}`, "D"},
	"promote-version": {"", `{"stage":"dev"}`, "D"},
	"rollback-model":  {"", "", "D"},
	"set-alias":       {"", `{"version":"1"}`, "D"},
	"delete-alias":    {"", "", "D"},
	"set-canary":      {"", `{"version":"1","share":0.5}`, "D"},
	"end-canary":      {"", "", "D"},
	"set-shadow":      {"", `{"version":"1"}`, "D"},
	"end-shadow":      {"", "", "D"},
	"delete-version":  {"", "", "D"},
	"delete-model":    {"", "", "D"},

	"list-accounts":   {"", "", "S"},
	"create-account":  {"", `{"kind":"service","name":""}`, ""}, // its form is wrong for everyone
	"get-account":     {"", "", "S"},
	"change-account":  {"", `{"disabled":true}`, "S"},
	"reenrol-account": {"", "", "S"},
	"remove-account":  {"", "", "S"},

	"list-tokens":  {"", "", "uUaAdDSm"}, // one's own
	"create-token": {"", `{"name":"t","expires":"2001-01-01T00:00:00Z"}`, "UADS"},
	"revoke-token": {"", "", "S"},
	"issue-jwt":    {"", `{"model":"nothing","level":"invoke","role":"model_user"}`, "UADS"},

	"list-grants":  {"", "", "AS"},
	"create-grant": {"", `{"subject":"x","role":"nothing","reason":"r"}`, "S"},
	"revoke-grant": {"?reason=r", "", "S"},

	"list-policies":        {"", "", "AS"},
	"get-policy":           {"", "", "AS"},
	"list-policy-versions": {"", "", "AS"},
	"set-policy":           {"", `{"text":"not Cedar","reason":"r"}`, "S"},
	"delete-policy":        {"?reason=r", "", "S"},
	"preview-policy":       {"", `{"text":""}`, "AS"},

	"list-reviews": {"", "", "AS"},
	"open-review":  {"", `{"model":"nothing","reason":"r"}`, "S"},
	"judge-grant":  {"", `{"verdict":"keep","reason":"r"}`, "S"},
	"list-access":  {"", "", "AS"},
	"plan-reviews": {"", `{"days":0,"reason":"r"}`, "S"},

	"audit-checkpoint": {"", "", "A"},
	"list-events":      {"?limit=1", "", "A"},
	"prove-entry":      {"", "", "A"},
	"list-holds":       {"", "", "A"},
	"begin-hold":       {"", `{"id":"h","reason":"r"}`, "S"},
	"end-hold":         {"?reason=r", "", "S"},
	"erase-subject":    {"", `{"subject":"user:nobody","reason":"r"}`, "S"},
}

// Every operation of the API's own description is asked by everyone, and answered
// as the table says. An operation that is not in the table fails.
func TestOperations(t *testing.T) {
	s, _ := started(t, nil)
	callers := map[rune][]string{'-': nil, 'x': {"Authorization", "Bearer rdt_wrong"}}
	cookie := func(letter rune, name, role string, second bool) identity.Account {
		a, session := person(t, s, name, role, second)
		callers[letter] = []string{"Cookie", identity.Cookie + "=" + session}
		return a
	}
	cookie('u', "user", "model_user", false)
	cookie('U', "user-two", "model_user", true)
	cookie('a', "auditor", "auditor", false)
	cookie('A', "auditor-two", "auditor", true)
	cookie('d', "deployer", "model_developer", false)
	cookie('D', "deployer-two", "model_admin", true)
	cookie('s', "administrator", "security_admin", false)
	boss := cookie('S', "administrator-two", "security_admin", true)
	robot, err := s.Identity().CreateService(t.Context(), socketUser, "robot", []string{"security_admin"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for letter, token := range map[rune]identity.Token{'m': {Account: robot.ID, Name: "m"}, 't': {Account: boss.ID, Name: "t", Scopes: []string{"model:*:*"}}} {
		_, secret, err := s.Identity().CreateToken(t.Context(), socketUser, token)
		if err != nil {
			t.Fatal(err)
		}
		callers[letter] = []string{"Authorization", "Bearer " + secret}
	}
	c := callerOf(t, s, "")
	var doc struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal([]byte(c.ask("GET", "/api/v1/openapi.json", "", callers['u']...).body), &doc); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for path, methods := range doc.Paths {
		path = strings.NewReplacer("{id}", "nothing", "{grant}", "nothing", "{model}", "nothing", "{version}", "nothing", "{alias}", "nothing", "{digest}", "nothing", "{entry}", "1").Replace(path)
		for method, described := range methods {
			op, known := operations[described.OperationID]
			if !known {
				t.Errorf("nothing says who may %s", described.OperationID)
				continue
			}
			asked++
			for letter, headers := range callers {
				if op.body != "" {
					headers = append([]string{"Content-Type", "application/json"}, headers...)
				}
				a := c.ask(strings.ToUpper(method), path+op.query, op.body, headers...)
				var got bool
				switch {
				case letter == '-' || letter == 'x':
					if a.status != http.StatusUnauthorized {
						t.Errorf("%s by nobody: %d %s", described.OperationID, a.status, a.body)
					}
				case a.status >= 500 || a.status == http.StatusUnauthorized:
					t.Errorf("%s by %c: %d %s", described.OperationID, letter, a.status, a.body)
				default:
					got = a.status != http.StatusForbidden && !(described.OperationID == "create-account" && a.status == http.StatusUnprocessableEntity)
				}
				if want := strings.ContainsRune(op.may, letter); got != want {
					t.Errorf("%s by %c: %d %s; allowed: %v", described.OperationID, letter, a.status, a.body, want)
				}
				if a.status >= 400 {
					a.shaped(t, described.OperationID, "/api/v1/")
				}
			}
		}
	}
	if asked != len(operations) {
		t.Errorf("%d operations of %d were asked", asked, len(operations))
	}
}

// What is somebody else's is refused in the words in which what is not there is.
func TestOthersThings(t *testing.T) {
	s, _ := started(t, nil)
	ann, session := person(t, s, "ann", "model_user", true)
	bob, _ := person(t, s, "bob", "model_user", false)
	his, _, err := s.Identity().CreateToken(t.Context(), socketUser, identity.Token{Account: bob.ID, Name: "his"})
	if err != nil {
		t.Fatal(err)
	}
	c := callerOf(t, s, "")
	as := []string{"Cookie", identity.Cookie + "=" + session, "Content-Type", "application/json"}
	for _, pair := range [][2]string{
		{"GET /api/v1/accounts/" + bob.ID, "GET /api/v1/accounts/user:nothing"}, {"GET /api/v1/accounts/bob", "GET /api/v1/accounts/carl"},
		{"GET /api/v1/tokens?account=bob", "GET /api/v1/tokens?account=carl"}, {"DELETE /api/v1/tokens/" + his.ID, "DELETE /api/v1/tokens/nothing"},
		{"POST /api/v1/accounts/bob/enrolment", "POST /api/v1/accounts/carl/enrolment"}, {"DELETE /api/v1/accounts/" + bob.ID, "DELETE /api/v1/accounts/carl"},
	} {
		var said [2]string
		for i, request := range pair {
			method, path, _ := strings.Cut(request, " ")
			a := c.ask(method, path, "", as...)
			said[i] = strings.ReplaceAll(a.body, a.header.Get("X-Request-Id"), "")
			if a.status != http.StatusForbidden {
				t.Errorf("%s: %d %s", request, a.status, a.body)
			}
		}
		if said[0] != said[1] {
			t.Errorf("%q and %q tell them apart", said[0], said[1])
		}
	}
	if a := c.ask("GET", "/api/v1/accounts/"+ann.ID, "", as...); a.status != http.StatusOK {
		t.Errorf("her own account: %d %s", a.status, a.body)
	}
	if a := c.ask("POST", "/api/v1/tokens", `{"name":"for bob","account":"bob"}`, as...); a.status != http.StatusForbidden {
		t.Errorf("a token for somebody else: %d %s", a.status, a.body)
	}
	if len(s.Identity().Tokens(bob.ID)) != 1 {
		t.Error("his tokens have changed")
	}
}

// What no client of the API sends changes nothing: requests that another site has
// a browser make, and bodies that can be read in two ways.
func TestOddRequestsToTheAPI(t *testing.T) {
	s, _ := started(t, nil)
	_, session := person(t, s, "boss", "security_admin", true)
	c := callerOf(t, s, "")
	before := len(s.Identity().Accounts())
	const good = `{"kind":"service","name":"new"}`
	kind := []string{"Content-Type", "application/json"}
	for name, r := range map[string]struct {
		body    string
		headers []string
		status  int
	}{
		"from another site":      {good, append([]string{"Sec-Fetch-Site", "cross-site"}, kind...), 403},
		"from a sibling":         {good, append([]string{"Sec-Fetch-Site", "same-site"}, kind...), 403},
		"from another origin":    {good, append([]string{"Origin", "https://other.example"}, kind...), 403},
		"from no origin":         {good, append([]string{"Origin", "null"}, kind...), 403},
		"as a form":              {"kind=service&name=new", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
		"as text":                {good, []string{"Content-Type", "text/plain"}, 415},
		"as CBOR":                {good, []string{"Content-Type", "application/cbor"}, 415},
		"two megabytes":          {`{"kind":"service","name":"` + strings.Repeat("a", 2<<20) + `"}`, kind, 413},
		"a name twice":           {`{"kind":"service","name":"new","name":"other"}`, kind, 400},
		"a name in two cases":    {`{"kind":"service","name":"new","NAME":"other"}`, kind, 400},
		"a name escaped":         {`{"kind":"service","name":"new","n\u0061me":"other"}`, kind, 400},
		"a member nobody knows":  {`{"kind":"service","name":"new","admin":true}`, kind, 422},
		"a member of the answer": {`{"kind":"service","name":"new","id":"user:1"}`, kind, 422},
		"something after it":     {good + `{}`, kind, 400},
		"nested without end":     {`{"kind":"service","name":` + strings.Repeat("[", 100_000) + `}`, kind, 400},
		"nothing":                {"", kind, 400},
		"null":                   {"null", kind, 422},
		"a list":                 {"[" + good + "]", kind, 422},
		"another type":           {`{"kind":"service","name":7}`, kind, 422},
		"a role of a dictionary": {`{"kind":"service","name":"new","roles":{"0":"security_admin"}}`, kind, 422},
		"not UTF-8":              {"{\"kind\":\"service\",\"name\":\"\xff\xfe\"}", kind, 422},
	} {
		a := c.ask("POST", "/api/v1/accounts", r.body, append([]string{"Cookie", identity.Cookie + "=" + session}, r.headers...)...)
		if a.status != r.status {
			t.Errorf("%s: %d %.200s, want %d", name, a.status, a.body, r.status)
		}
		a.shaped(t, name, "/api/v1/")
		if strings.Contains(a.body, "json:") || strings.Contains(a.body, "goroutine") || len(a.body) > 4096 {
			t.Errorf("%s: the client is told %.200s", name, a.body)
		}
	}
	if after := len(s.Identity().Accounts()); after != before {
		t.Errorf("%d accounts, then %d", before, after)
	}
	if a := c.ask("POST", "/api/v1/accounts", good, "Cookie", identity.Cookie+"="+session, "Content-Type", "application/json", "Sec-Fetch-Site", "same-origin"); a.status != http.StatusOK {
		t.Errorf("a good one: %d %s", a.status, a.body)
	}
}

// Nobody gives himself anything, by roles or by the groups that grants speak of;
// and a role that no policy knows, with which everything would be refused, is
// refused itself.
func TestOwnAccount(t *testing.T) {
	s, _ := started(t, nil)
	boss, session := person(t, s, "boss", "security_admin", true)
	other, _ := person(t, s, "other", "model_user", false)
	c := callerOf(t, s, "")
	set := func(id, body string) answered {
		return c.ask("PATCH", "/api/v1/accounts/"+id, body, "Cookie", identity.Cookie+"="+session, "Content-Type", "application/json")
	}
	for _, body := range []string{`{"groups":["credit"]}`, `{"roles":["security_admin","model_admin"]}`, `{"roles":["security_admin"],"groups":["credit"]}`} {
		if a := set(boss.ID, body); a.status != http.StatusForbidden || !strings.Contains(a.body, "nobody changes his own") {
			t.Errorf("%s of one's own: %d %s", body, a.status, a.body)
		}
	}
	if a := set(other.ID, `{"groups":["credit"],"roles":["model_user"]}`); a.status != http.StatusOK {
		t.Errorf("of another: %d %s", a.status, a.body)
	}
	for _, request := range []func() answered{
		func() answered { return set(other.ID, `{"roles":["model_usr"]}`) },
		func() answered {
			return c.ask("POST", "/api/v1/accounts", `{"kind":"service","name":"new","roles":["model_usr"]}`, "Cookie", identity.Cookie+"="+session, "Content-Type", "application/json")
		},
	} {
		if a := request(); a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, `unknown role \"model_usr\"; the roles are model_user`) {
			t.Errorf("a role that is none: %d %s", a.status, a.body)
		}
	}
}

// A change to accounts and tokens says from where it was made and which request it
// was, as all that is done over the network.
func TestChangesSayFromWhere(t *testing.T) {
	s, _ := started(t, nil)
	_, session := person(t, s, "boss", "security_admin", true)
	c := callerOf(t, s, "")
	want := map[string]string{} // the action of each request
	for _, r := range [][3]string{
		{"POST", "/accounts", `{"kind":"service","name":"robot"}`},
		{"PATCH", "/accounts/robot", `{"roles":["model_user"]}`},
		{"POST", "/tokens", `{"name":"t","account":"robot"}`},
		{"POST", "/grants", `{"subject":"robot","role":"model_user","on":"*","reason":"r"}`},
		{"DELETE", "/accounts/robot", ""},
	} {
		a := c.ask(r[0], "/api/v1"+r[1], r[2], "Cookie", identity.Cookie+"="+session, "Content-Type", "application/json")
		if a.status != http.StatusOK {
			t.Fatalf("%v: %d %s", r, a.status, a.body)
		}
		want[a.header.Get("X-Request-Id")] = r[0] + " " + r[1]
	}
	for e, err := range audit.Read(t.Context(), s.auditDir(), audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, asked := want[e.Request]; asked && e.From == "127.0.0.1" && e.Actor != "" {
			delete(want, e.Request)
		}
	}
	if len(want) > 0 {
		t.Errorf("these are not on record with an address: %v", want)
	}
}

// There is a first administrator until somebody administers, by whatever way, and never
// again.
func TestFirstAdministrator(t *testing.T) {
	s, _ := started(t, nil)
	first := func() string {
		t.Helper()
		name, err := s.FirstAdministrator(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	var links []string
	for range 2 {
		link, err := s.Enrolment(t.Context(), first())
		if err != nil || !strings.HasPrefix(link, s.cfg.Identity.Origin+"/auth/enrol#") {
			t.Errorf("%q, %v", link, err)
		}
		links = append(links, link)
	}
	if links[0] == links[1] {
		t.Error("a link works twice")
	}
	admin, err := s.Identity().Account(administrator)
	if err != nil {
		t.Fatal(err)
	}
	for what, a := range map[string]identity.Account{
		"disabled": {Disabled: true, Roles: admin.Roles}, "without a role": {},
	} {
		if err := s.Identity().SetAccount(t.Context(), socketUser, admin.ID, a.Roles, nil, a.Disabled); err != nil {
			t.Fatal(err)
		}
		if name := first(); name != "" {
			t.Errorf("%s, and anew: %s", what, name)
		}
		if err := s.Identity().SetAccount(t.Context(), socketUser, admin.ID, admin.Roles, nil, false); err != nil {
			t.Fatal(err)
		}
	}
	grants := []policy.Grant{
		{Subject: "user:granted", Role: securityAdmin, On: "*"}, {Subject: "group:bosses", Role: securityAdmin, On: "*"},
		{Subject: "user:former", Role: securityAdmin, On: "*", Expires: time.Now().Add(-time.Hour)}, {Subject: "user:auditor", Role: "auditor", On: "*"},
	}
	own := []string{securityAdmin}
	for _, c := range []struct {
		a    identity.Account
		want bool
	}{
		{identity.Account{ID: "user:own", Roles: own, SecondFactor: true}, true}, {identity.Account{ID: "user:own", Roles: own}, false},
		{identity.Account{ID: "oidc:https://idp#s", Roles: own}, true}, {identity.Account{ID: "oidc:https://idp#s", Roles: own, Disabled: true}, false},
		{identity.Account{ID: "service:robot", Roles: own}, false}, {identity.Account{ID: "user:granted", SecondFactor: true}, true},
		{identity.Account{ID: "user:member", Groups: []string{"bosses"}, SecondFactor: true}, true},
		{identity.Account{ID: "user:former", SecondFactor: true}, false}, {identity.Account{ID: "user:auditor", SecondFactor: true}, false},
	} {
		if got := administers(c.a, grants); got != c.want {
			t.Errorf("%+v administers: %v", c.a, got)
		}
	}
	person(t, s, "boss", securityAdmin, true)
	if name := first(); name != "" {
		t.Errorf("with an administrator: %s", name)
	}
}

// An administrator gives a program a JSON Web Token, which the gateway takes for the
// model that it is for, and which is on record as any token.
func TestIssueJWT(t *testing.T) {
	t.Setenv("JWT_KEY", strings.Repeat("k", 32))
	s, _ := started(t, func(c *Config) { c.Identity.JWTKey = "env:JWT_KEY" })
	_, session := person(t, s, "boss", "security_admin", true)
	c := callerOf(t, s, "")
	ask := func(model string) (made struct{ Token, Detail string }) {
		a := c.ask("POST", "/api/v1/jwts", `{"account":"ci","model":"`+model+`","level":"invoke","role":"model_user"}`, "Cookie", identity.Cookie+"="+session, "Content-Type", "application/json")
		if err := json.Unmarshal([]byte(a.body), &made); err != nil || a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		return made
	}
	for model, want := range map[string]int{"simple": http.StatusOK, "other": http.StatusForbidden} {
		if code, body := callerOf(t, s, ask(model).Token).rest("POST", "/v2/models/simple/infer", simpleBody); code != want {
			t.Errorf("a token for %s: %d %s", model, code, body)
		}
	}
	n := 0
	for e, err := range audit.Read(t.Context(), s.auditDir(), audit.Filter{Action: "token.issue"}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; e.Details["account"] == "" || e.From == "" || e.Actor == "" {
			t.Errorf("%+v", e)
		}
	}
	if n != 2 {
		t.Errorf("%d entries", n)
	}
}
