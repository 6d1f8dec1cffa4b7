// From vectors to an index directory. In: slices or files, and a context. Out: a report, or an error that
// says which row. C calls back into Go here, for progress, and nowhere else.

package vdb

/*
#include <stdlib.h>
#include "bridge.h"
*/
import "C"

import (
	"context"
	"runtime/cgo"
	"time"
	"unsafe"
)

// Source says where the vectors of a [Build] come from. Slices are not copied, and not changed during the
// build.
type Source struct {
	rows     [][]float32
	data     unsafe.Pointer
	elements int
	dim      int
	element  C.vdb_type_t
	ids      []uint64
	path     string
	idsPath  string
}

// FromRows takes a slice for each row, all of one length. They are copied during the build; FromFlat needs
// half the memory.
func FromRows(rows [][]float32) Source {
	source := Source{rows: rows, element: C.VDB_TYPE_F32}
	if len(rows) > 0 {
		source.dim = len(rows[0])
	}
	return source
}

// FromFlat takes rows of dim floats, one after the other.
func FromFlat(data []float32, dim int) Source {
	return flat(data, dim, C.VDB_TYPE_F32)
}

// FromFloat16 takes rows of dim 16-bit floats, given by their bits.
func FromFloat16(bits []uint16, dim int) Source {
	return flat(bits, dim, C.VDB_TYPE_F16)
}

// FromBytes takes rows of dim bytes, which are numbers from 0 to 255.
func FromBytes(data []byte, dim int) Source {
	return flat(data, dim, C.VDB_TYPE_U8)
}

func flat[T any](elements []T, dim int, element C.vdb_type_t) Source {
	data := unsafe.Pointer(unsafe.SliceData(elements))
	return Source{data: data, elements: len(elements), dim: dim, element: element}
}

// FromFile reads a .npy, .fvecs, .bvecs, .fbin or .u8bin file, which may be larger than memory.
func FromFile(path string) Source { return Source{path: path} }

// WithIDs gives each row of slices an id, no two alike. Without it they are 0, 1 and so on.
func (s Source) WithIDs(ids []uint64) Source {
	s.ids = ids
	return s
}

// WithIDsFile reads the ids of a file's rows from another, .u64bin or .npy.
func (s Source) WithIDsFile(path string) Source {
	s.idsPath = path
	return s
}

// Links say whether rows that lie near each other are linked: 136 bytes a row in memory, fewer codes scanned for the
// same recall.
type Links uint32

const (
	LinksAuto Links = C.VDB_LINKS_AUTO // if memory has room for making them
	LinksOn   Links = C.VDB_LINKS_ON   // or the build fails before it starts
	LinksOff  Links = C.VDB_LINKS_OFF
)

// BuildOptions say what to build, and how. The zero value means: squared L2, all else chosen.
type BuildOptions struct {
	Metric           Metric // 0: L2
	Seed             uint64 // same source, options and seed: same bytes
	Flat             bool   // no tree
	Replace          bool   // replace an index that is at the path
	LeafRows         uint32 // aim for the rows of a leaf; 0: chosen
	Fanout           uint32 // most children of a node; 0: chosen
	CodeBits         uint32 // of a code, a dimension: 1, 2 or 4; 0: chosen
	Links            Links  // 0: if memory has room for making them
	SegmentRows      uint64 // most rows of a segment; 0: as many as fit
	MemoryLimitBytes uint64 // 0: from what machine and cgroup have free
	Threads          uint32 // 0: what machine and cgroup allow; 1: the caller's alone
	// Progress is told how far a phase is, on the goroutine of Build, at most ten times a second. It must
	// not call this package. nil: nobody is.
	Progress func(phase string, done, total uint64)
}

// BuildReport is what a build did.
type BuildReport struct {
	Generation uint64
	Rows       uint64
	DiskBytes  uint64  // of the finished index
	PeakBytes  uint64  // highest memory that the build took for data
	Phases     []Phase // in order
}

// Phase is a part of a build.
type Phase struct {
	Name string
	Time time.Duration
}

// Build builds an index in the directory path. It appears there whole when all is done; a build that fails,
// or whose context is done before, leaves what was there. A panic in Progress comes out of Build.
func Build(ctx context.Context, path string, source Source, options BuildOptions) (BuildReport, error) {
	if err := checkVersion(); err != nil {
		return BuildReport{}, err
	}
	if err := done(ctx); err != nil {
		return BuildReport{}, err
	}
	build, data, err := source.toC()
	if err != nil {
		return BuildReport{}, err
	}
	defer C.free(unsafe.Pointer(build.source.path))
	defer C.free(unsafe.Pointer(build.source.ids_path))
	options.toC(&build)
	build.job.timeout_ns = C.uint64_t(timeoutNS(ctx))

	var token *int32
	if ctx.Done() != nil {
		token = new(int32)
		defer watch(ctx, token)()
	}
	watcher := progressWatcher{tell: options.Progress}
	var handle cgo.Handle
	if options.Progress != nil {
		handle = cgo.NewHandle(&watcher)
		defer handle.Delete()
	}
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	var report C.vdb_build_report_t
	var cerr *C.vdb_error_t
	status := C.vdbgo_build(cpath, &build, (*C.uint8_t)(data), words(source.ids), (*C.vdb_cancel_t)(token),
		C.uintptr_t(handle), &report, &cerr)
	if watcher.panicked {
		C.vdb_error_free(cerr)
		panic(watcher.value)
	}
	if status != C.VDB_OK {
		return BuildReport{}, stopped(ctx, status, cerr)
	}
	return newReport(&report), nil
}

// toC has the source in the terms of C, its paths being C's memory, and where its elements are.
func (s *Source) toC() (C.vdbgo_build_t, unsafe.Pointer, error) {
	var build C.vdbgo_build_t
	data, elements := s.data, s.elements
	if s.path == "" {
		if s.rows != nil {
			flat, err := flatten(s.rows, s.dim)
			if err != nil {
				return build, nil, err
			}
			data, elements = unsafe.Pointer(unsafe.SliceData(flat)), len(flat)
		}
		if s.dim < 1 || elements%s.dim != 0 {
			return build, nil, invalid("%d elements are not whole rows of dim %d", elements, s.dim)
		}
		rows := elements / s.dim
		if s.ids != nil && len(s.ids) != rows {
			return build, nil, invalid("there are %d ids for %d rows", len(s.ids), rows)
		}
		build.source.rows = C.uint64_t(rows)
		build.source.dim = C.size_t(s.dim)
		build.source._type = s.element
	}
	if elements == 0 {
		data = nil
	}
	if s.path != "" {
		build.source.path = C.CString(s.path)
	}
	if s.idsPath != "" {
		build.source.ids_path = C.CString(s.idsPath)
	}
	return build, data, nil
}

func (o *BuildOptions) toC(build *C.vdbgo_build_t) {
	options := &build.options
	options.seed = C.uint64_t(o.Seed)
	options.metric = C.vdb_metric_t(o.Metric)
	if o.Flat {
		options.flags |= C.VDB_BUILD_FLAT
	}
	if o.Replace {
		options.flags |= C.VDB_BUILD_REPLACE
	}
	options.leaf_rows = C.uint32_t(o.LeafRows)
	options.fanout = C.uint32_t(o.Fanout)
	options.code_bits = C.uint32_t(o.CodeBits)
	options.links = C.vdb_links_t(o.Links)
	options.segment_rows = C.uint64_t(o.SegmentRows)
	build.job.memory_limit_bytes = C.uint64_t(o.MemoryLimitBytes)
	build.job.threads = C.uint32_t(o.Threads)
}

func newReport(report *C.vdb_build_report_t) BuildReport {
	phases := make([]Phase, report.phase_count)
	for i := range phases {
		phase := &report.phases[i]
		phases[i] = Phase{C.GoString(&phase.name[0]), time.Duration(phase.ns)}
	}
	return BuildReport{
		Generation: uint64(report.generation),
		Rows:       uint64(report.rows),
		DiskBytes:  uint64(report.disk_bytes),
		PeakBytes:  uint64(report.peak_bytes),
		Phases:     phases,
	}
}

// progressWatcher is what C's progress callback finds behind its handle.
type progressWatcher struct {
	tell     func(phase string, done, total uint64)
	panicked bool
	value    any
}

// vdbgo_progress is called by C during a build. A panic must not pass through frames of C: it is kept, and
// the build is cancelled.
//
//export vdbgo_progress
func vdbgo_progress(handle C.uintptr_t, phase *C.char, done, total C.uint64_t) (stop C.int32_t) {
	watcher := cgo.Handle(handle).Value().(*progressWatcher)
	watcher.panicked = true
	defer func() {
		if watcher.panicked {
			watcher.value = recover()
			stop = 1
		}
	}()
	watcher.tell(C.GoString(phase), uint64(done), uint64(total))
	watcher.panicked = false
	return 0
}
