// Searches, cursors, contexts and handles, on an index of generated rows that is built once.

package vdb_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"vdb"
)

const (
	rows    = 3000
	dim     = 48
	queries = 64
	k       = 10
)

var (
	ctx   = context.Background()
	base  = clustered(rows, 2)
	asked = clustered(queries, 3)
	path  string
	// So few rows would get no tree otherwise.
	tree = vdb.BuildOptions{LeafRows: 32, Replace: true}
)

func TestMain(m *testing.M) {
	code := func() int {
		scratch, err := os.MkdirTemp("", "vdb")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(scratch)
		path = filepath.Join(scratch, "test.vdb")
		if _, err = vdb.Build(ctx, path, vdb.FromFlat(base, dim), tree); err != nil {
			panic(err)
		}
		return m.Run()
	}()
	os.Exit(code)
}

// clustered makes rows around 40 centres, the same on every machine.
func clustered(count int, seed uint64) []float32 {
	centres := rand.New(rand.NewPCG(1, 0))
	numbers := rand.New(rand.NewPCG(seed, 0))
	centre := make([]float32, 40*dim)
	for i := range centre {
		centre[i] = 4 * (centres.Float32() - 0.5)
	}
	made := make([]float32, count*dim)
	for i := range made {
		row, element := i/dim, i%dim
		made[i] = centre[row%40*dim+element] + numbers.Float32() - 0.5
	}
	return made
}

func row(flat []float32, i int) []float32 { return flat[i*dim : (i+1)*dim] }

func rowsOf(flat []float32) [][]float32 { return slices.Collect(slices.Chunk(flat, dim)) }

func open(t testing.TB) *vdb.DB {
	t.Helper()
	db, err := vdb.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func search(t testing.TB, db *vdb.DB, query []float32, opts vdb.SearchOptions) []vdb.Hit {
	t.Helper()
	hits, err := db.Search(ctx, query, opts)
	if err != nil {
		t.Fatal(err)
	}
	return hits
}

// want fails the test unless err is all of targets, and says something.
func want(t testing.TB, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Errorf("got %v, want %v", err, target)
		}
	}
	if err == nil || len(err.Error()) < 10 {
		t.Errorf("%v says nothing", err)
	}
}

func TestSearchFindsWhatIsNearest(t *testing.T) {
	db := open(t)
	found := 0
	for q := range queries {
		truth := search(t, db, row(asked, q), vdb.SearchOptions{K: k, Exact: true})
		hits := search(t, db, row(asked, q), vdb.SearchOptions{K: k, NoCache: true})
		if len(truth) != k || len(hits) != k {
			t.Fatalf("%d and %d of %d", len(truth), len(hits), k)
		}
		for _, hit := range hits {
			sum := 0.0
			for i, x := range row(asked, q) {
				sum += math.Pow(float64(x-row(base, int(hit.ID))[i]), 2)
			}
			if math.Abs(sum-float64(hit.Distance)) > 1e-4*sum {
				t.Errorf("distance of row %d is %g, not %g", hit.ID, hit.Distance, sum)
			}
			if slices.Contains(truth, hit) {
				found++
			}
		}
	}
	if recall := float64(found) / (queries * k); recall < 0.9 {
		t.Errorf("recall@10 is %.3f", recall)
	}
}

func TestBatchAnswersWhatSearchAnswers(t *testing.T) {
	db := open(t)
	for _, opts := range []vdb.SearchOptions{
		{K: k, NoCache: true}, {K: 1}, {K: k, Exact: true},
		{K: 3, Probes: 2, Filter: vdb.Except([]uint64{1, 2, 3})},
	} {
		batch, err := db.BatchSearch(ctx, rowsOf(asked), opts)
		if err != nil {
			t.Fatal(err)
		}
		ids, distances := make([]uint64, queries*opts.K), make([]float32, queries*opts.K)
		counts := make([]int, queries)
		if err := db.BatchSearchInto(ctx, asked, opts, ids, distances, counts); err != nil {
			t.Fatal(err)
		}
		for q := range queries {
			single := search(t, db, row(asked, q), opts)
			if !slices.Equal(batch[q], single) {
				t.Fatalf("query %d: %v in the batch, %v alone", q, batch[q], single)
			}
			if counts[q] != len(single) || ids[q*opts.K] != single[0].ID {
				t.Fatalf("query %d: into slices %d, %d", q, counts[q], ids[q*opts.K])
			}
			count, err := db.SearchInto(ctx, row(asked, q), opts, ids[:opts.K], distances[:opts.K])
			if err != nil || count != len(single) {
				t.Fatal(count, err)
			}
			for i, hit := range single {
				if hit != (vdb.Hit{ID: ids[i], Distance: distances[i]}) {
					t.Fatalf("query %d: into slices %v, %v; %v", q, ids[i], distances[i], hit)
				}
			}
		}
	}
	if none, err := db.BatchSearch(ctx, nil, vdb.SearchOptions{K: k}); err != nil || len(none) != 0 {
		t.Errorf("no query: %v, %v", none, err)
	}
}

func TestManyGoroutinesShareADB(t *testing.T) {
	db := open(t)
	truth, err := db.BatchSearch(ctx, rowsOf(asked), vdb.SearchOptions{K: k})
	if err != nil {
		t.Fatal(err)
	}
	cancellable, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	for g := range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			on := []context.Context{ctx, cancellable}[g%2]
			for q := range queries {
				hits, err := db.Search(on, row(asked, q), vdb.SearchOptions{K: k, NoCache: g%4 > 1})
				if err != nil || !slices.Equal(hits, truth[q]) {
					t.Errorf("goroutine %d, query %d: %v, %v", g, q, hits, err)
				}
			}
		}()
	}
	group.Wait()
}

func TestOptionsReachTheSearch(t *testing.T) {
	db := open(t)
	query := row(asked, 1)
	all := search(t, db, query, vdb.SearchOptions{K: 100, Exact: true})
	nearest := []uint64{all[0].ID, all[1].ID, all[2].ID}
	sorted := slices.Sorted(slices.Values(nearest))
	bits := make([]uint64, rows/64+1)
	bits[nearest[1]/64] |= 1 << (nearest[1] % 64)

	for _, c := range []struct {
		name string
		opts vdb.SearchOptions
		want []vdb.Hit
	}{
		{"only", vdb.SearchOptions{Filter: vdb.Only(sorted)}, all[:3]},
		{"none", vdb.SearchOptions{Filter: vdb.Only(nil)}, []vdb.Hit{}},
		{"except", vdb.SearchOptions{Filter: vdb.Except(sorted)}, all[3:13]},
		{"only bits", vdb.SearchOptions{Filter: vdb.OnlyBits(bits, 0)}, all[1:2]},
		{"except bits", vdb.SearchOptions{Filter: vdb.ExceptBits(bits, 0)},
			slices.Concat(all[:1], all[2:11])},
		{"max distance", vdb.SearchOptions{MaxDistance: &all[4].Distance}, all[:5]},
	} {
		c.opts.K, c.opts.Exact = k, true
		if hits := search(t, db, query, c.opts); !slices.Equal(hits, c.want) {
			t.Errorf("%s: %v, want %v", c.name, hits, c.want)
		}
	}

	var stats vdb.SearchStats
	search(t, db, query, vdb.SearchOptions{K: k, Probes: 3, NoCache: true, Stats: &stats})
	if stats.Probes != 3 || stats.CodesScanned == 0 {
		t.Errorf("%+v", stats)
	}
	if hits := search(t, db, query, vdb.SearchOptions{K: math.MaxInt}); len(hits) != rows {
		t.Errorf("%d of all %d rows", len(hits), rows)
	}
	everything := vdb.SearchOptions{K: rows, Probes: math.MaxUint32, Rerank: vdb.RerankAll}
	if hits := search(t, db, query, everything); len(hits) != rows {
		t.Errorf("%d of all %d rows", len(hits), rows)
	}
}

func TestContextsStopSearches(t *testing.T) {
	db := open(t)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	past, cancel := context.WithDeadline(ctx, time.Now().Add(-time.Second))
	defer cancel()
	// Long enough for any deadline: 3,000 exact distances for each of 20,000 queries.
	many := make([]float32, 20000*dim)
	ids := make([]uint64, 20000)
	for i := range many {
		many[i] = asked[i%len(asked)]
	}
	long := func(ctx context.Context) error {
		opts := vdb.SearchOptions{K: 1, Exact: true, NoCache: true}
		return db.BatchSearchInto(ctx, many, opts, ids, nil, nil)
	}

	for range 3 { // a late cancel must not reach the next call
		_, err := db.Search(cancelled, row(asked, 0), vdb.SearchOptions{K: k})
		want(t, err, vdb.ErrCancelled, context.Canceled)
		_, err = db.BatchSearch(past, rowsOf(asked), vdb.SearchOptions{K: k})
		want(t, err, vdb.ErrTimeout, context.DeadlineExceeded)

		soon, cancel := context.WithTimeout(ctx, 2*time.Millisecond)
		want(t, long(soon), vdb.ErrTimeout, context.DeadlineExceeded)
		cancel()

		later, cancel := context.WithCancel(ctx)
		time.AfterFunc(2*time.Millisecond, cancel)
		want(t, long(later), vdb.ErrCancelled, context.Canceled)

		search(t, db, row(asked, 0), vdb.SearchOptions{K: k})
		inTime, cancel := context.WithTimeout(ctx, time.Hour)
		if _, err := db.Search(inTime, row(asked, 0), vdb.SearchOptions{K: k}); err != nil {
			t.Error(err)
		}
		cancel()
	}
}

func TestCursorGoesOn(t *testing.T) {
	db := open(t)
	all := search(t, db, row(asked, 2), vdb.SearchOptions{K: 200, Exact: true})
	cursor, err := db.Cursor(ctx, row(asked, 2), vdb.SearchOptions{K: 30, Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	db.Close() // the cursor stays good
	ids, distances := make([]uint64, 50), make([]float32, 50)
	if count, err := cursor.Next(ids, distances); err != nil || count != 50 || ids[49] != all[49].ID {
		t.Fatal(count, err)
	}
	place := 50
	for hit, err := range cursor.All() {
		if err != nil || hit != all[place] {
			t.Fatalf("%d: %v, %v; want %v", place, hit, err, all[place])
		}
		if place++; place == 110 {
			break
		}
	}
	rest := 0
	for _, err := range cursor.All() {
		if err != nil {
			t.Fatal(err)
		}
		rest++
	}
	if rest != rows-110 {
		t.Errorf("%d rows at the end, want %d", rest, rows-110)
	}
	if count, err := cursor.Next(ids, nil); count != 0 || err != nil {
		t.Error(count, err)
	}
	_, err = cursor.Next(ids, distances[:1])
	want(t, err, vdb.ErrInvalidArgument)
	if cursor.Close() != nil || cursor.Close() != nil {
		t.Error("Close fails")
	}
	_, err = cursor.Next(ids, distances)
	want(t, err, vdb.ErrClosed)
}

func TestContextsStopCursors(t *testing.T) {
	db := open(t)
	cancellable, cancel := context.WithCancel(ctx)
	cursor, err := db.Cursor(cancellable, row(asked, 2), vdb.SearchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer cursor.Close()
	ids := make([]uint64, 5)
	if count, err := cursor.Next(ids, nil); count != 5 || err != nil {
		t.Fatal(count, err)
	}
	cancel()
	_, err = cursor.Next(ids, nil)
	want(t, err, vdb.ErrCancelled, context.Canceled)
	for _, err := range cursor.All() {
		want(t, err, vdb.ErrCancelled)
	}
	_, err = db.Cursor(cancellable, row(asked, 2), vdb.SearchOptions{})
	want(t, err, vdb.ErrCancelled, context.Canceled)
	_, err = db.Cursor(ctx, row(asked, 2)[1:], vdb.SearchOptions{})
	want(t, err, vdb.ErrInvalidArgument)
}

func TestClosedIsAnErrorNotACrash(t *testing.T) {
	db := open(t)
	var group sync.WaitGroup
	for range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			for {
				_, err := db.Search(ctx, row(asked, 0), vdb.SearchOptions{K: k, NoCache: true})
				if err != nil {
					want(t, err, vdb.ErrClosed)
					return
				}
			}
		}()
	}
	time.Sleep(time.Millisecond)
	if db.Close() != nil || db.Close() != nil {
		t.Error("Close fails")
	}
	group.Wait()

	_, err := db.BatchSearch(ctx, rowsOf(asked), vdb.SearchOptions{K: k})
	want(t, err, vdb.ErrClosed)
	_, err = db.Cursor(ctx, row(asked, 0), vdb.SearchOptions{})
	want(t, err, vdb.ErrClosed)
	_, err = db.Get(1)
	want(t, err, vdb.ErrClosed)
	_, err = db.Info()
	want(t, err, vdb.ErrClosed)
	_, err = db.Memory()
	want(t, err, vdb.ErrClosed)
	_, err = new(vdb.DB).Search(ctx, nil, vdb.SearchOptions{K: 1})
	want(t, err, vdb.ErrClosed)
}

func TestForgottenIndexesAreCollected(t *testing.T) {
	for range 20 {
		db, err := vdb.Open(path, &vdb.Options{Threads: 1, AnswerCacheBytes: vdb.CacheOff})
		if err != nil {
			t.Fatal(err)
		}
		cursor, err := db.Cursor(ctx, row(asked, 0), vdb.SearchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		search(t, db, row(asked, 0), vdb.SearchOptions{K: k})
		runtime.GC()
		if _, err := cursor.Next(make([]uint64, 3), nil); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
}

func TestBadQueriesAreRefused(t *testing.T) {
	db := open(t)
	good := row(asked, 0)
	bad := slices.Clone(asked)
	bad[3*dim+1] = float32(math.NaN())
	ids, distances := make([]uint64, k), make([]float32, k)
	into := func(query []float32, ids []uint64, distances []float32) error {
		_, err := db.SearchInto(ctx, query, vdb.SearchOptions{}, ids, distances)
		return err
	}
	one := func(query []float32, opts vdb.SearchOptions) error {
		_, err := db.Search(ctx, query, opts)
		return err
	}
	batch := func(queries []float32, k int, ids []uint64, distances []float32, counts []int) error {
		return db.BatchSearchInto(ctx, queries, vdb.SearchOptions{K: k}, ids, distances, counts)
	}
	for name, err := range map[string]error{
		"short":            one(good[1:], vdb.SearchOptions{K: k}),
		"empty":            one(nil, vdb.SearchOptions{K: k}),
		"NaN":              one(row(bad, 3), vdb.SearchOptions{K: k}),
		"K 0":              one(good, vdb.SearchOptions{}),
		"K -1":             one(good, vdb.SearchOptions{K: -1}),
		"recall":           one(good, vdb.SearchOptions{K: k, Recall: 1.5}),
		"unsorted filter":  one(good, vdb.SearchOptions{K: k, Filter: vdb.Only([]uint64{2, 1})}),
		"no room":          into(good, nil, nil),
		"less distances":   into(good, ids, distances[1:]),
		"no whole queries": batch(asked[1:], k, ids, nil, nil),
		"batch K 0":        batch(good, 0, ids, nil, nil),
		"batch K -1":       batch(good, -1, ids, nil, nil),
		"batch ids":        batch(asked, k, ids, nil, nil),
		"batch distances":  batch(good, k, ids, distances[1:], nil),
		"batch counts":     batch(good, k, ids, distances, make([]int, 2)),
	} {
		t.Run(name, func(t *testing.T) { want(t, err, vdb.ErrInvalidArgument) })
	}
	for _, queries := range [][][]float32{rowsOf(bad), {good, good, good, good[1:]}} {
		_, err := db.BatchSearch(ctx, queries, vdb.SearchOptions{K: k})
		want(t, err, vdb.ErrInvalidArgument)
		if failed := new(vdb.Error); !errors.As(err, &failed) || failed.Row != 3 {
			t.Errorf("%+v does not name row 3", failed)
		}
	}
}

func TestSearchIntoAllocatesNothing(t *testing.T) {
	db := open(t)
	ids, distances := make([]uint64, k), make([]float32, k)
	var stats vdb.SearchStats
	filter := vdb.Except([]uint64{7, 8, 9})
	for _, opts := range []vdb.SearchOptions{{}, {NoCache: true}, {Filter: filter, Stats: &stats}} {
		allocs := testing.AllocsPerRun(100, func() {
			if _, err := db.SearchInto(ctx, row(asked, 0), opts, ids, distances); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%v allocations with %+v", allocs, opts)
		}
	}
}

func TestAnIndexCanBeLookedAt(t *testing.T) {
	db := open(t)
	info, err := db.Info()
	if err != nil || info.Rows != rows || info.Dim != dim || info.Metric != vdb.L2 || info.Type != vdb.F32 ||
		db.Dim() != dim || !info.Links {
		t.Errorf("%+v, %v", info, err)
	}
	if memory, err := db.Memory(); err != nil || memory.Total == 0 {
		t.Errorf("%+v, %v", memory, err)
	}
	if vector, err := db.Get(17); err != nil || !slices.Equal(vector, row(base, 17)) {
		t.Errorf("%v, %v", vector, err)
	}
	_, err = db.Get(rows)
	want(t, err, vdb.ErrNotFound)

	out, found := make([]float32, 3*dim), make([]byte, 3)
	if err := db.GetInto([]uint64{5, rows, 6}, out, found); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(found, []byte{1, 0, 1}) || !slices.Equal(row(out, 2), row(base, 6)) || out[dim] != 0 {
		t.Error(found)
	}
	want(t, db.GetInto([]uint64{5}, out, nil), vdb.ErrInvalidArgument)
	want(t, db.GetInto([]uint64{1, 2, 3}, out, found[1:]), vdb.ErrInvalidArgument)
	if vdb.Version() == "" {
		t.Error("no version")
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	foreign := t.TempDir()
	_, err := vdb.Open(filepath.Join(foreign, "none.vdb"), nil)
	want(t, err, vdb.ErrNotFound)
	if err := os.WriteFile(filepath.Join(foreign, "manifest"), []byte("my own manifest"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err = vdb.Open(foreign, nil); err == nil {
		t.Error("a foreign directory opens")
	}
	for _, options := range []*vdb.Options{
		{NoMmap: true}, {Check: true}, {Threads: 1, VectorCacheBytes: vdb.CacheOff},
	} {
		db, err := vdb.Open(path, options)
		if err != nil {
			t.Fatal(err)
		}
		search(t, db, row(asked, 0), vdb.SearchOptions{K: k})
		db.Close()
	}
}

// Of an answer that is cached: what it costs to come and go.
func BenchmarkSearchInto(b *testing.B) {
	db := open(b)
	ids, distances := make([]uint64, k), make([]float32, k)
	cancellable, cancel := context.WithCancel(ctx)
	defer cancel()
	for name, ctx := range map[string]context.Context{"background": ctx, "cancellable": cancellable} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := db.SearchInto(ctx, row(asked, 0), vdb.SearchOptions{}, ids, distances)
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
