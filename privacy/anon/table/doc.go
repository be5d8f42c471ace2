// Package table streams flat tables: CSV, and Parquet, row by row.
//
//	r, err := table.Open("patients.csv")
//	defer r.Close()
//	for {
//		row, err := r.Next() // valid until the next call; io.EOF at the end
//	}
//
// What is read is checked on the way: the header names each column once, every row
// has as many fields, text is UTF-8, and a row is no longer than [MaxRow]. An error
// names the line or row. A written table is in the format of its file's name.
package table
