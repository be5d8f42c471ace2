package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/remote"
	"github.com/redoubt-ml/redoubt/serve"
	"github.com/redoubt-ml/redoubt/watch/audit"
	"github.com/redoubt-ml/redoubt/watch/export"
)

func newAudit(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Verify, prove, export and keep the log of a gateway",
		Long: `Verify, prove, export and keep the log of a gateway.

The log is chained, and once a second it signs the root of a Merkle tree over its
entries. verify, prove and export read the folder of a log, whether its server
runs or not; checking what they print needs the log's public key and nothing else.
What changes the log (hold, release, erase) goes through the server.`,
		Example: `  redoubt audit verify
  redoubt audit verify /var/lib/redoubt/audit --key audit.pub --checkpoint noted-in-march
  redoubt audit prove 4711 > entry.tlog-proof
  redoubt audit check entry.tlog-proof --key audit.pub
  redoubt audit export --format ocsf --action policy.`,
	}
	c := &client{}
	cmd.AddCommand(auditVerify(), auditCheckpoint(), auditProve(), auditCheck(), auditExport())
	for _, sub := range []*cobra.Command{auditHolds(c), auditHold(c), auditRelease(c), auditErase(c)} {
		c.flags(sub)
		cmd.AddCommand(sub)
	}
	return cmd
}

// logFlags name a log on this machine.
type logFlags struct{ data string }

func (l *logFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&l.data, "data", "", "folder of the server (default: in the user's data directory)")
}

// dir is the folder of the log: the argument, or that of the server.
func (l *logFlags) dir(args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	data := l.data
	if data == "" {
		var err error
		if data, err = serve.DataDir(); err != nil {
			return "", err
		}
	}
	dir := filepath.Join(data, "audit")
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("there is no log at %s: name its folder, or the server's with --data", dir)
	}
	return dir, nil
}

// trustFlags say what is held against a log.
type trustFlags struct {
	key, checkpoints, witnesses []string
	quorum                      int
}

func (f *trustFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.key, "key", nil, "public key of the log: a file, or as it stands (default: the one beside the log, which proves less)")
	cmd.Flags().StringSliceVar(&f.witnesses, "witness", nil, "public key of a witness; repeatable")
	cmd.Flags().IntVar(&f.quorum, "quorum", 0, "how many of the witnesses must have signed (default: all that are named)")
}

// trust reads the keys. beside is where the log's key lies when none is named.
func (f *trustFlags) trust(beside string) (t audit.Trust, found string, err error) {
	if len(f.key) > 1 {
		return t, "", errors.New("--key: a log has one: name one")
	}
	if len(f.key) == 0 {
		found = beside
		f.key = []string{beside}
	}
	if t.Key, err = audit.ReadVerifier(f.key[0]); err != nil {
		return t, "", fmt.Errorf("--key: %w", err)
	}
	for _, w := range f.witnesses {
		v, err := audit.ReadVerifier(w)
		if err != nil {
			return t, "", fmt.Errorf("--witness: %w", err)
		}
		t.Witnesses = append(t.Witnesses, v)
	}
	if t.Quorum = f.quorum; t.Quorum == 0 {
		t.Quorum = len(t.Witnesses)
	}
	if t.Quorum > len(t.Witnesses) {
		return t, "", fmt.Errorf("--quorum: %d of %d witnesses cannot sign: name more with --witness", t.Quorum, len(t.Witnesses))
	}
	for _, path := range f.checkpoints {
		c, err := readCheckpoint(path)
		if err != nil {
			return t, "", fmt.Errorf("--checkpoint: %w", err)
		}
		t.Checkpoints = append(t.Checkpoints, c)
	}
	return t, found, nil
}

func readCheckpoint(path string) (audit.Checkpoint, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return audit.Checkpoint{}, err
	}
	return audit.ParseCheckpoint(b)
}

func auditVerify() *cobra.Command {
	var l logFlags
	var f trustFlags
	var notedIn []string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "verify [FOLDER]", Short: "Compute a log again, and hold it against what is known of it", Args: cobra.MaximumNArgs(1),
		Long: `Compute a log again, and hold it against what is known of it.

Every entry, the chain, the tree and the newest checkpoint are checked. What
somebody wrote anew who has the log's key is found by what was kept elsewhere: a
checkpoint noted earlier, the signatures of witnesses, or the log of another node
that noted this one's checkpoints. Exit code 1: it is not what was written.`,
		Example: `  redoubt audit verify
  redoubt audit verify /var/lib/redoubt/audit --key audit.pub --checkpoint noted-in-march
  redoubt audit verify node-1/audit --key node-1.pub --noted-in node-2/audit`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := l.dir(args)
			if err != nil {
				return err
			}
			trust, found, err := f.trust(filepath.Join(filepath.Dir(filepath.Clean(dir)), "audit.key.pub"))
			if err != nil {
				return err
			}
			for _, other := range notedIn {
				noted, err := audit.NotedIn(cmd.Context(), other, trust.Key.Name())
				if err != nil {
					return fmt.Errorf("--noted-in %s: %w", other, err)
				}
				trust.Checkpoints = append(trust.Checkpoints, noted...)
			}
			r, err := audit.Verify(cmd.Context(), dir, trust)
			if err != nil {
				return verdict(dir, err)
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(r)
			}
			return printVerified(os.Stdout, dir, found, r, trust)
		},
	}
	l.add(cmd)
	f.add(cmd)
	cmd.Flags().StringSliceVar(&f.checkpoints, "checkpoint", nil, "file of a checkpoint that was noted earlier; repeatable")
	cmd.Flags().StringSliceVar(&notedIn, "noted-in", nil, "folder of another log that noted checkpoints of this one; repeatable")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	return cmd
}

// verdict tells a log that is not what it should be from one that cannot be read.
func verdict(dir string, err error) error {
	var path *os.PathError
	if errors.As(err, &path) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("verify %s: %w", dir, err)
	}
	return fmt.Errorf("%w: %w", redoubt.ErrGate, err)
}

func printVerified(w io.Writer, dir, found string, r audit.Report, trust audit.Trust) error {
	fmt.Fprintf(w, "%s: whole\n", dir)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "entries\t%d in %d files, %s to %s\n", r.Entries-r.Pruned, r.Segments, r.First.Format(time.RFC3339), r.Last.Format(time.RFC3339))
	if r.Pruned > 0 {
		fmt.Fprintf(t, "pruned\t%d before them, whose hashes are there\n", r.Pruned)
	}
	fmt.Fprintf(t, "signed\t%d, by %s\n", r.Signed, trust.Key.Name())
	if r.Witnessed > 0 {
		fmt.Fprintf(t, "witnessed\t%d, by %d or more\n", r.Witnessed, trust.Quorum)
	}
	if n := len(trust.Checkpoints); n > 0 {
		fmt.Fprintf(t, "grown out of\t%d earlier checkpoints\n", n)
	}
	if r.Unfinished > 0 {
		fmt.Fprintf(t, "unfinished\t%d bytes at the end, of a crash or a write under way\n", r.Unfinished)
	}
	if r.Unreadable > 0 {
		fmt.Fprintf(t, "unreadable\twhat is told of %d persons, whose keys are gone without an erasure on record\n", r.Unreadable)
	}
	fmt.Fprintf(t, "root\t%s\n", r.Root)
	if err := t.Flush(); err != nil {
		return err
	}
	if found != "" {
		fmt.Fprintf(os.Stderr, "The key was taken from %s. Whoever could change the log could change that: keep a copy elsewhere, and name it with --key.\n", found)
	}
	return nil
}

func auditCheckpoint() *cobra.Command {
	var l logFlags
	var witnessed bool
	cmd := &cobra.Command{
		Use: "checkpoint [FOLDER]", Short: "Print the newest checkpoint, to be kept elsewhere", Args: cobra.MaximumNArgs(1),
		Example: `  redoubt audit checkpoint > noted-in-march`,
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := l.dir(args)
			if err != nil {
				return err
			}
			c, err := audit.ReadCheckpoint(dir, witnessed)
			if err != nil {
				return err
			}
			if c.Note == nil {
				return fmt.Errorf("%s: there is no such checkpoint yet", dir)
			}
			_, err = os.Stdout.Write(c.Note)
			return err
		},
	}
	l.add(cmd)
	cmd.Flags().BoolVar(&witnessed, "witnessed", false, "the newest that witnesses signed")
	return cmd
}

func auditProve() *cobra.Command {
	var l logFlags
	var witnessed bool
	var request string
	cmd := &cobra.Command{
		Use: "prove [ENTRY]", Short: "Print the proof that an entry is in the log (C2SP tlog-proof)", Args: cobra.MaximumNArgs(1),
		Long: `Print the proof that an entry is in the log, in the form of C2SP tlog-proof.

The entry is named by its number, or by the id of the request that it is about;
of several, the last is proved.`,
		Example: `  redoubt audit prove 4711 > entry.tlog-proof
  redoubt audit prove --request 1f9e6a08b3d24c55a7e0c1d2b3a49586`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := l.dir(nil)
			if err != nil {
				return err
			}
			n, err := entryNumber(cmd.Context(), dir, args, request)
			if err != nil {
				return err
			}
			p, err := audit.Prove(cmd.Context(), dir, n, witnessed)
			if err != nil {
				return err
			}
			text, err := p.MarshalText()
			if err != nil {
				return err
			}
			_, err = os.Stdout.Write(text)
			return err
		},
	}
	l.add(cmd)
	cmd.Flags().BoolVar(&witnessed, "witnessed", false, "against the newest checkpoint that witnesses signed")
	cmd.Flags().StringVar(&request, "request", "", "id of the request whose entry is proved")
	return cmd
}

func entryNumber(ctx context.Context, dir string, args []string, request string) (n int64, err error) {
	switch {
	case len(args) == 1 && request == "":
		if n, err = strconv.ParseInt(args[0], 10, 64); err != nil || n < 1 {
			return 0, fmt.Errorf("prove: %q is no number of an entry: they begin with 1", args[0])
		}
		return n, nil
	case len(args) == 1 || request == "":
		return 0, errors.New("prove: name the entry by its number or by --request")
	}
	for e, err := range audit.Entries(ctx, dir, audit.Filter{Request: request}) {
		if err != nil {
			return 0, err
		}
		n = e.Number
	}
	if n == 0 {
		return 0, fmt.Errorf("prove: no entry is about request %s", request)
	}
	return n, nil
}

func auditCheck() *cobra.Command {
	var f trustFlags
	cmd := &cobra.Command{
		Use: "check FILE", Short: "Check a proof, and print the event that it proves", Args: cobra.ExactArgs(1),
		Example: `  redoubt audit check entry.tlog-proof --key audit.pub`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(f.key) == 0 {
				return errors.New("--key is required: a proof proves what the holder of that key signed")
			}
			trust, _, err := f.trust("")
			if err != nil {
				return err
			}
			b, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			var p audit.Proof
			if err := p.UnmarshalText(b); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			e, err := p.Check(trust.Key, trust.Witnesses, trust.Quorum)
			if err != nil {
				return fmt.Errorf("%w: %s: %w", redoubt.ErrGate, args[0], err)
			}
			return json.NewEncoder(os.Stdout).Encode(struct {
				Entry  int64         `json:"entry"`
				Log    string        `json:"log"`
				Signed []string      `json:"signed"`
				Event  redoubt.Event `json:"event"`
			}{p.Number, p.Checkpoint.Origin, signers(p.Checkpoint, trust), e})
		},
	}
	f.add(cmd)
	return cmd
}

// signers are the names of those known who signed a checkpoint.
func signers(c audit.Checkpoint, trust audit.Trust) (names []string) {
	n, err := note.Open(c.Note, note.VerifierList(append([]note.Verifier{trust.Key}, trust.Witnesses...)...))
	if err != nil {
		return nil
	}
	for _, s := range n.Sigs {
		names = append(names, s.Name)
	}
	return names
}

// exportFlags say what is exported, and to where.
type exportFlags struct {
	log                                         logFlags
	format, out, endpoint, region, accessKey    string
	secretKey, action, actor, resource, request string
	outcome                                     string
	from, to                                    string
}

func auditExport() *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use: "export [FOLDER]", Short: "Write events for other systems", Args: cobra.MaximumNArgs(1),
		Long: exportHelp(),
		Example: `  redoubt audit export --format ocsf --action policy. --from 2026-11-01
  redoubt audit export --format tiles --out /srv/tiles
  redoubt audit export --out s3://logs/2026/november.jsonl --endpoint s3.example \
      --access-key env:S3_KEY --secret-key env:S3_SECRET`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), args) },
	}
	f.log.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.format, "format", "jsonl", "form: "+exportFormats())
	flags.StringVar(&f.out, "out", "", "file, or s3://BUCKET/NAME, or the folder of tiles (default: print, as for -)")
	flags.StringVar(&f.endpoint, "endpoint", "", "storage that speaks S3: HOST[:PORT], http:// before it for one on loopback")
	flags.StringVar(&f.region, "region", "us-east-1", "region of the bucket")
	flags.StringVar(&f.accessKey, "access-key", "env:AWS_ACCESS_KEY_ID", "access key: env:NAME or file:PATH")
	flags.StringVar(&f.secretKey, "secret-key", "env:AWS_SECRET_ACCESS_KEY", "its secret: env:NAME or file:PATH")
	flags.StringVar(&f.action, "action", "", "only this action, or those that begin so where it ends with a dot: policy.")
	flags.StringVar(&f.actor, "actor", "", "only what this principal did")
	flags.StringVar(&f.resource, "resource", "", "only what was done to this, or those that begin so where it ends with a colon: model:")
	flags.StringVar(&f.request, "request", "", "only what is about this request")
	flags.StringVar(&f.outcome, "outcome", "", "only allowed, denied or failed")
	flags.StringVar(&f.from, "from", "", "from this time on: 2026-11-01 or 2026-11-01T12:00:00Z")
	flags.StringVar(&f.to, "to", "", "before this time")
	return cmd
}

func exportFormats() string {
	var names []string
	for _, f := range export.Formats {
		names = append(names, f.Name)
	}
	return strings.Join(append(names, "tiles"), ", ")
}

func exportHelp() string {
	var b strings.Builder
	b.WriteString("Write events for other systems, oldest first, in one of these forms:\n\n")
	for _, f := range export.Formats {
		fmt.Fprintf(&b, "  %-7s %s\n", f.Name, f.Doc)
	}
	b.WriteString("  tiles   the Merkle tree (C2SP tlog-tiles), which tells nothing of the events and\n          can be checked by any monitor of transparency logs\n")
	return b.String()
}

func (f *exportFlags) run(ctx context.Context, args []string) error {
	dir, err := f.log.dir(args)
	if err != nil {
		return err
	}
	filter, err := f.filter()
	if err != nil {
		return err
	}
	if f.format == "tiles" {
		if f.out == "" || f.out == "-" || filter != (audit.Filter{}) {
			return errors.New("export tiles: they are the whole log, and go to a folder: name it with --out, and nothing to choose by")
		}
		return export.Tiles(ctx, dir, f.out)
	}
	format := export.Named(f.format)
	if format == nil {
		return fmt.Errorf("--format %s: there is none: want one of %s", f.format, exportFormats())
	}
	c, err := audit.ReadCheckpoint(dir, false)
	if err != nil {
		return err
	}
	return f.send(ctx, func(w io.Writer) error {
		_, err := format.Write(ctx, w, dir, c.Origin, filter)
		return err
	})
}

// send writes to where it was asked for: nothing is there until all is.
func (f *exportFlags) send(ctx context.Context, write func(io.Writer) error) error {
	bucket, name, found := strings.Cut(strings.TrimPrefix(f.out, "s3://"), "/")
	switch {
	case f.out == "", f.out == "-":
		return write(os.Stdout)
	case !strings.HasPrefix(f.out, "s3://"):
		return writeWhole(f.out, write)
	case !found || bucket == "" || name == "" || f.endpoint == "":
		return errors.New("--out: want s3://BUCKET/NAME, and --endpoint")
	}
	b := export.Bucket{Name: bucket, Region: f.region}
	b.Endpoint, b.Insecure = strings.CutPrefix(f.endpoint, "http://")
	b.Endpoint = strings.TrimPrefix(b.Endpoint, "https://")
	var err error
	if b.Key, err = remote.Secret(f.accessKey); err != nil {
		return fmt.Errorf("--access-key: %w", err)
	}
	if b.Secret, err = remote.Secret(f.secretKey); err != nil {
		return fmt.Errorf("--secret-key: %w", err)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(write(w)) }()
	return errors.Join(b.Put(ctx, name, r), r.Close())
}

// writeWhole writes a file beside its place and moves it there.
func writeWhole(path string, write func(io.Writer) error) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	if err := errors.Join(write(file), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

func (f *exportFlags) filter() (audit.Filter, error) {
	out := audit.Filter{Action: f.action, Actor: f.actor, Resource: f.resource, Request: f.request, Outcome: redoubt.Outcome(f.outcome)}
	switch out.Outcome {
	case "", redoubt.Allowed, redoubt.Denied, redoubt.Failed:
	default:
		return out, fmt.Errorf("--outcome %s: want allowed, denied or failed", f.outcome)
	}
	for _, t := range []struct {
		flag, text string
		to         *time.Time
	}{{"--from", f.from, &out.From}, {"--to", f.to, &out.To}} {
		if t.text == "" {
			continue
		}
		var err error
		if *t.to, err = time.Parse(time.RFC3339, t.text); err != nil {
			if *t.to, err = time.Parse(time.DateOnly, t.text); err != nil {
				return out, fmt.Errorf("%s %s: want a time such as 2026-11-01 or 2026-11-01T12:00:00Z", t.flag, t.text)
			}
		}
	}
	return out, nil
}

func auditHolds(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "holds", Short: "List the legal holds that stand", Args: cobra.NoArgs, Example: `  redoubt audit holds`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all struct{ Holds []audit.Hold }
			if err := c.do(cmd.Context(), "GET", "/audit/holds", nil, &all); err != nil {
				return err
			}
			t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "ID\tSINCE\tSUBJECT\tREASON")
			for _, h := range all.Holds {
				subject := h.Subject
				if subject == "" {
					subject = "everyone"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", h.ID, h.Since.Format(time.RFC3339), subject, h.Reason)
			}
			return t.Flush()
		},
	}
}

func auditHold(c *client) *cobra.Command {
	var reason, subject string
	cmd := &cobra.Command{
		Use: "hold ID", Short: "Keep everything, for as long as a proceeding lasts", Args: cobra.ExactArgs(1),
		Long: `Keep everything, for as long as a proceeding lasts.

While a hold stands nothing is pruned, and what the log tells of the subject, or of
anybody if none is named, is not erased.`,
		Example: `  redoubt audit hold case-2026-7 --subject user:4f1c --reason 'litigation'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.do(cmd.Context(), "POST", "/audit/holds", map[string]any{"id": args[0], "subject": subject, "reason": reason}, nil)
		},
	}
	cmd.Flags().StringVar(&subject, "subject", "", "whose erasure is held (default: everyone's)")
	return reasoned(cmd, &reason)
}

func auditRelease(c *client) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "release ID", Short: "End a legal hold", Args: cobra.ExactArgs(1), Example: `  redoubt audit release case-2026-7 --reason 'settled'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.do(cmd.Context(), "DELETE", "/audit/holds/"+url.PathEscape(args[0])+"?reason="+url.QueryEscape(reason), nil, nil)
		},
	}
	return reasoned(cmd, &reason)
}

func auditErase(c *client) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "erase SUBJECT", Short: "Destroy the key of what the log tells of a person; it cannot be undone", Args: cobra.ExactArgs(1),
		Long: `Destroy the key of what the log tells of a person; it cannot be undone.

Entries stay, and every proof stays valid; nobody can read again who it was, from
where, and what was changed of the account. Copies of the file audit/subjects
elsewhere, in backups too, are not reached: keep those apart, and not for long.`,
		Example: `  redoubt audit erase user:4f1c --reason 'request 2026-17 under article 17'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.do(cmd.Context(), "POST", "/audit/erasures", map[string]any{"subject": args[0], "reason": reason}, nil)
		},
	}
	return reasoned(cmd, &reason)
}
