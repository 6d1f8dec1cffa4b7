// Examples for the documentation, which are tests too.

package vdb_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"vdb"
)

// Six points in a plane, found by their distance.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "points.vdb")
	points := [][]float32{{0, 0}, {1, 0}, {0, 2}, {5, 5}, {6, 5}, {9, 9}}

	ctx := context.Background()
	if _, err := vdb.Build(ctx, path, vdb.FromRows(points), vdb.BuildOptions{Metric: vdb.L2}); err != nil {
		log.Fatal(err)
	}
	db, err := vdb.Open(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	hits, err := db.Search(ctx, []float32{5, 4}, vdb.SearchOptions{K: 2})
	if err != nil {
		log.Fatal(err)
	}
	for _, hit := range hits {
		fmt.Println(points[hit.ID], hit.Distance)
	}

	cursor, err := db.Cursor(ctx, []float32{0, 0}, vdb.SearchOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer cursor.Close()
	for hit, err := range cursor.All() {
		if err != nil {
			log.Fatal(err)
		}
		if hit.Distance > 10 {
			break
		}
		fmt.Println("within reach:", points[hit.ID])
	}
	// Output:
	// [5 5] 1
	// [6 5] 2
	// within reach: [0 0]
	// within reach: [1 0]
	// within reach: [0 2]
}

// Errors are told apart by errors.Is, and say in a sentence what to do.
func ExampleError() {
	_, err := vdb.Open("no/such/index.vdb", nil)
	fmt.Println(errors.Is(err, vdb.ErrNotFound), errors.Is(err, vdb.ErrCorrupt))
	var failed *vdb.Error
	fmt.Println(errors.As(err, &failed), failed.Status)
	// Output:
	// true false
	// true VDB_NOT_FOUND
}
