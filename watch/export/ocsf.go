package export

import (
	"strings"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/watch/audit"
)

// ocsfVersion is the release of the schema that events are written in. The profile
// record_integrity came with it.
const ocsfVersion = "1.9.0-dev"

// Classes of OCSF.
const (
	authentication = 3002
	apiActivity    = 6003
)

var ocsf = &Format{
	Name: "ocsf", Doc: "Open Cybersecurity Schema Framework: Authentication and API Activity, with the profile record_integrity",
	event: func(origin string, e audit.Entry) (any, error) { return inOCSF(origin, e), nil },
}

type object = map[string]any

// inOCSF is an entry as an event of OCSF.
func inOCSF(origin string, e audit.Entry) object {
	class, activity, name := classOf(e.Event.Action)
	status, severity := 1, 1 // success, informational
	switch e.Event.Outcome {
	case redoubt.Denied:
		status, severity = 2, 2
	case redoubt.Failed:
		status, severity = 2, 3
	}
	o := object{
		"class_uid": class, "category_uid": class / 1000, "activity_id": activity, "activity_name": name, "type_uid": class*100 + activity,
		"time": e.Event.Time.UnixMilli(), "severity_id": severity, "status_id": status, "status_detail": e.Event.Reason,
		"metadata": object{
			"version": ocsfVersion, "uid": e.Event.ID, "correlation_uid": e.Event.Request, "log_name": origin, "sequence": e.Number,
			"product":  object{"name": "Redoubt", "vendor_name": "Redoubt"},
			"profiles": []string{"record_integrity"},
		},
		"attestation_list": []object{attestation(origin, e)},
		"unmapped":         unmapped(e.Event),
	}
	user := object{"uid": e.Event.Actor, "type_id": userType(e.Event.Actor), "credential_uid": e.Event.Credential}
	if class == authentication {
		o["user"], o["auth_protocol"], o["is_mfa"] = user, e.Event.Method, strings.Contains(e.Event.Method, "+") || e.Event.Method == "passkey"
	} else {
		o["actor"], o["api"] = object{"user": user}, object{"operation": e.Event.Action, "request": object{"uid": e.Event.Request}}
		o["resources"] = []object{resource(e.Event.Resource)}
	}
	o["src_endpoint"] = object{"ip": e.Event.From}
	if e.Event.From == "" {
		o["src_endpoint"] = object{"name": "local"} // the process itself, or its socket
	}
	return clean(o)
}

// classOf is the class of OCSF that an action belongs to, and the activity.
func classOf(action string) (class, activity int, name string) {
	switch action {
	case "session.login", "session.confirm", "recovery.use":
		return authentication, 1, "Logon"
	case "session.end":
		return authentication, 2, "Logoff"
	}
	_, verb, _ := strings.Cut(action, ".")
	switch verb {
	case "create", "open", "hold", "deploy":
		return apiActivity, 1, "Create"
	case "read", "describe", "list":
		return apiActivity, 2, "Read"
	case "change", "reload", "plan", "judge", "enable", "disable":
		return apiActivity, 3, "Update"
	case "delete", "erase", "prune", "release", "revoke":
		return apiActivity, 4, "Delete"
	}
	return apiActivity, 99, verb
}

func userType(actor string) int {
	switch kind, _, _ := strings.Cut(actor, ":"); kind {
	case "user", "oidc":
		return 1 // user
	case "local":
		return 2 // administrator
	case "service", "certificate":
		return 4 // service
	}
	return 0
}

func resource(r string) object {
	kind, name, _ := strings.Cut(r, ":")
	return clean(object{"type": kind, "name": name, "uid": r})
}

// attestation says where an event stands in the log: the fingerprint is the hash
// of its entry, which is a leaf of the tree that the log signs.
func attestation(origin string, e audit.Entry) object {
	sha256 := func(value string) object { return object{"algorithm_id": 3, "algorithm": "SHA-256", "value": value} }
	a := object{"uid": e.Event.ID, "authority_uid": origin, "chain_uid": origin, "fingerprint": sha256(e.Hash)}
	if e.Number > 1 {
		a["prev_event"] = object{"fingerprint": sha256(e.Previous)}
	}
	return clean(a)
}

func unmapped(e redoubt.Event) object {
	o := object{"before": e.Before, "after": e.After}
	for k, v := range e.Details {
		o["details."+k] = v
	}
	return clean(o)
}

// clean leaves out what is empty: OCSF has no nulls.
func clean(o object) object {
	for k, v := range o {
		switch v := v.(type) {
		case string:
			if v == "" {
				delete(o, k)
			}
		case object:
			if len(clean(v)) == 0 {
				delete(o, k)
			}
		case []object:
			if len(v) == 1 && len(v[0]) == 0 {
				delete(o, k)
			}
		}
	}
	return o
}
