package document

// Formats lists what can be read, in the order in which content is looked at.
// Office files are zip archives, and their XML is read as HTML is.
var Formats = []Format{Text, JSON, JSONLines, CSV, TSV, Parquet, Mail, HTML, PDF, Gzip, Zip}
