package mask

var redact = Method{
	Name: "redact", Doc: "the type in brackets, or a text of your own: nothing of the value is left",
	Settings: []string{"text"},
	New: func(r Rule, _ Settings) (Masker, error) {
		return maskFunc(func(v Value) (string, error) {
			if r.Text != "" {
				return r.Text, nil
			}
			return "[" + v.Type + "]", nil
		}), nil
	},
}

var keep = Method{
	Name: "keep", Doc: "the value itself",
	New: func(Rule, Settings) (Masker, error) {
		return maskFunc(func(v Value) (string, error) { return v.Text, nil }), nil
	},
}
