// What cannot be tested from outside: the copy of the header, and which library goes with it.

package vdb

import (
	"bytes"
	"errors"
	"os"
	"testing"
)

func TestHeaderIsACopy(t *testing.T) {
	own, err := os.ReadFile("vdb.h")
	if err != nil {
		t.Fatal(err)
	}
	original, err := os.ReadFile("../../include/vdb.h")
	if err != nil {
		t.Skip("not in the repository of libvdb: ", err)
	}
	if !bytes.Equal(own, original) {
		t.Fatal("vdb.h is stale; in the repository's root: cp include/vdb.h bindings/go/")
	}
}

func TestLibraryAndHeaderMustBeOfOneSeries(t *testing.T) {
	version := func(major, minor, patch uint32) uint32 { return major<<16 | minor<<8 | patch }
	for _, c := range []struct {
		library, header uint32
		fit             bool
	}{
		{version(0, 1, 0), version(0, 1, 0), true},
		{version(0, 1, 3), version(0, 1, 2), true},
		{version(0, 1, 1), version(0, 1, 2), false},
		{version(0, 2, 0), version(0, 1, 0), false},
		{version(1, 0, 0), version(0, 1, 0), false},
		{version(1, 4, 0), version(1, 2, 9), true},
		{version(1, 2, 0), version(1, 4, 0), false},
		{version(2, 0, 0), version(1, 4, 0), false},
	} {
		err := compatible(c.library, c.header)
		if (err == nil) != c.fit || err != nil && !errors.Is(err, ErrUnsupported) {
			t.Errorf("library %s, header %s: %v", versionText(c.library), versionText(c.header), err)
		}
	}
}
