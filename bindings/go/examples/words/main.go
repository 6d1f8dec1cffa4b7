// Words is a semantic search over words: it prints the neighbours of the words asked for.
//
//	words INDEX DATA [WORD...]
//
// INDEX is opened, or built first if it is not there, from DATA/base.f16.npy; line i of DATA/words.txt is
// the word of row i. In bindings/go of the repository:
//
//	go run ./examples/words /tmp/words.vdb ../../demo/data king guitar
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"vdb"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("words: ")
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: words INDEX DATA [WORD...]")
		os.Exit(2)
	}
	// Ctrl-C stops a build as well as a search.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, path, data string, asked []string) error {
	text, err := os.ReadFile(filepath.Join(data, "words.txt"))
	if err != nil {
		return err
	}
	words := strings.Fields(string(text))
	idOf := make(map[string]uint64, len(words))
	for id, word := range words {
		idOf[word] = uint64(id)
	}
	if len(asked) == 0 {
		asked = []string{"king", "guitar", "paris", "running", "seven"}
	}

	db, err := openOrBuild(ctx, path, data)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, word := range asked {
		id, known := idOf[word]
		if !known {
			fmt.Printf("%-10s  is not among the %d words\n", word, len(words))
			continue
		}
		query, err := db.Get(id)
		if err != nil {
			return err
		}
		hits, err := db.Search(ctx, query, vdb.SearchOptions{K: 8, Filter: vdb.Except([]uint64{id})})
		if err != nil {
			return err
		}
		fmt.Printf("%-10s", word)
		for _, hit := range hits {
			fmt.Printf("  %s %.3f", words[hit.ID], hit.Distance)
		}
		fmt.Println()
	}
	return nil
}

func openOrBuild(ctx context.Context, path, data string) (*vdb.DB, error) {
	db, err := vdb.Open(path, nil)
	if !errors.Is(err, vdb.ErrNotFound) {
		return db, err
	}
	report, err := vdb.Build(ctx, path, vdb.FromFile(filepath.Join(data, "base.f16.npy")), vdb.BuildOptions{
		Metric: vdb.Cosine,
		Progress: func(phase string, done, total uint64) {
			fmt.Fprintf(os.Stderr, "\r%-20s %3d %%", phase, 100*done/max(1, total))
		},
	})
	if err != nil {
		return nil, err
	}
	megabytes := float64(report.DiskBytes) / 1e6
	fmt.Fprintf(os.Stderr, "\rbuilt %d words in %.1f MB on disk\n", report.Rows, megabytes)
	return vdb.Open(path, nil)
}
