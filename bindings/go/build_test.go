// Builds: sources, refusals, progress and how they are stopped.

package vdb_test

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"vdb"
)

func TestBuildTakesAllKindsOfRows(t *testing.T) {
	small := base[:200*dim]
	ids := make([]uint64, 200)
	halves, bytes := make([]uint16, 200*dim), make([]byte, 200*dim)
	for i := range ids {
		ids[i] = 1000 + 3*uint64(i)
	}
	for i := range halves {
		halves[i] = 0x3c00 + uint16(i*7%512) // from 1 to 1.5
		bytes[i] = byte(i * i % 251)
	}
	file := filepath.Join(t.TempDir(), "rows.fbin")
	contents := []byte{200, 0, 0, 0, dim, 0, 0, 0}
	for _, x := range small {
		bits := math.Float32bits(x)
		contents = append(contents, byte(bits), byte(bits>>8), byte(bits>>16), byte(bits>>24))
	}
	if err := os.WriteFile(file, contents, 0o644); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		source  vdb.Source
		element vdb.ElementType
		id      uint64
		value   float32
	}{
		{vdb.FromRows(rowsOf(small)), vdb.F32, 2, small[2*dim+1]},
		{vdb.FromFlat(small, dim).WithIDs(ids), vdb.F32, 1006, small[2*dim+1]},
		{vdb.FromFloat16(halves, dim), vdb.F16, 0, 1 + 7/1024.0},
		{vdb.FromBytes(bytes, dim), vdb.U8, 0, 1},
		{vdb.FromFile(file), vdb.F32, 2, small[2*dim+1]},
	} {
		path := filepath.Join(t.TempDir(), "kind.vdb")
		report, err := vdb.Build(ctx, path, c.source, vdb.BuildOptions{})
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		named := len(report.Phases) > 0 && report.Phases[0].Name != ""
		if report.Rows != 200 || report.DiskBytes == 0 || !named {
			t.Errorf("%d: %+v", i, report)
		}
		db, err := vdb.Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		vector, err := db.Get(c.id)
		if err != nil || vector[1] != c.value {
			t.Errorf("%d: %v, %v", i, vector, err)
		}
		if info, err := db.Info(); err != nil || info.Type != c.element || info.Rows != 200 {
			t.Errorf("%d: %+v, %v", i, info, err)
		}
		db.Close()
	}
}

func TestBuildSaysWhatIsWrong(t *testing.T) {
	none := filepath.Join(t.TempDir(), "refused.vdb")
	nan := slices.Clone(base)
	nan[5*dim] = float32(math.Inf(1))
	for name, c := range map[string]struct {
		source vdb.Source
		status error
		row    int64
	}{
		"infinity":     {vdb.FromFlat(nan, dim), vdb.ErrInvalidArgument, 5},
		"ragged":       {vdb.FromRows([][]float32{{1, 2}, {3}}), vdb.ErrInvalidArgument, 1},
		"no dim":       {vdb.FromFlat(base, 0), vdb.ErrInvalidArgument, -1},
		"negative dim": {vdb.FromFlat(base, -1), vdb.ErrInvalidArgument, -1},
		"rest":         {vdb.FromFlat(base[1:], dim), vdb.ErrInvalidArgument, -1},
		"few ids":      {vdb.FromFlat(base, dim).WithIDs([]uint64{1}), vdb.ErrInvalidArgument, -1},
		"no file":      {vdb.FromFile(filepath.Join(t.TempDir(), "none.npy")), vdb.ErrNotFound, -1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := vdb.Build(ctx, none, c.source, vdb.BuildOptions{})
			want(t, err, c.status)
			if failed := new(vdb.Error); !errors.As(err, &failed) || failed.Row != c.row {
				t.Errorf("%+v does not name row %d", failed, c.row)
			}
		})
	}
	_, err := vdb.Build(ctx, path, vdb.FromFlat(base, dim), vdb.BuildOptions{})
	want(t, err, vdb.ErrExists)
	if _, err := vdb.Build(ctx, path, vdb.FromFlat(base, dim), tree); err != nil {
		t.Error(err)
	}
}

func TestBuildTellsProgressAndStops(t *testing.T) {
	stopped := filepath.Join(t.TempDir(), "stopped.vdb")
	calls := 0
	cancellable, cancel := context.WithCancel(ctx)
	_, err := vdb.Build(cancellable, stopped, vdb.FromFlat(base, dim), vdb.BuildOptions{
		Progress: func(phase string, done, total uint64) {
			if phase == "" || done > total {
				t.Errorf("%q %d/%d", phase, done, total)
			}
			calls++
			cancel()
			time.Sleep(10 * time.Millisecond) // the token is set by another goroutine
		},
	})
	want(t, err, vdb.ErrCancelled, context.Canceled)
	if calls == 0 {
		t.Error("progress is not told")
	}
	soon, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, err = vdb.Build(soon, stopped, vdb.FromFlat(base, dim), vdb.BuildOptions{
		Progress: func(string, uint64, uint64) { time.Sleep(2 * time.Millisecond) },
	})
	want(t, err, vdb.ErrTimeout, context.DeadlineExceeded)

	func() {
		defer func() {
			if value := recover(); !reflect.DeepEqual(value, fs.ErrClosed) {
				t.Errorf("recovered %v", value)
			}
		}()
		vdb.Build(ctx, stopped, vdb.FromFlat(base, dim), vdb.BuildOptions{
			Progress: func(string, uint64, uint64) { panic(fs.ErrClosed) },
		})
	}()
	_, err = vdb.Open(stopped, nil)
	want(t, err, vdb.ErrNotFound)
}

func TestLinksAreMadeAsAsked(t *testing.T) {
	for links, wanted := range map[vdb.Links]bool{vdb.LinksAuto: true, vdb.LinksOn: true, vdb.LinksOff: false} {
		path := filepath.Join(t.TempDir(), "index")
		options := tree
		options.Links = links
		if _, err := vdb.Build(context.Background(), path, vdb.FromFlat(base, dim), options); err != nil {
			t.Fatal(err)
		}
		db, err := vdb.Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		var stats vdb.SearchStats
		search := vdb.SearchOptions{K: 5, Stats: &stats}
		if _, err := db.Search(context.Background(), row(asked, 0), search); err != nil {
			t.Error(err)
		}
		info, err := db.Info()
		if err != nil || info.Links != wanted || stats.CodesWalked > stats.CodesScanned {
			t.Errorf("%v: %+v, %+v, %v", links, info, stats, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err := vdb.Build(context.Background(), t.TempDir(), vdb.FromFlat(base, dim), vdb.BuildOptions{Links: 3})
	if !errors.Is(err, vdb.ErrInvalidArgument) {
		t.Error(err)
	}
}
