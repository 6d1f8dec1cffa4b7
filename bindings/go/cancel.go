// Contexts in the terms of C: a token that C reads while it works, and a limit in nanoseconds.

package vdb

import (
	"context"
	"sync/atomic"
	"time"
)

// watch sets *token when ctx is done. The function that it returns ends that: after it nothing is written
// to token any more. ctx can be done, else there is nothing to watch.
func watch(ctx context.Context, token *int32) (end func()) {
	written := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		atomic.StoreInt32(token, 1)
		close(written)
	})
	return func() {
		if !stop() {
			<-written
		}
	}
}

// timeoutNS is what is left until the deadline of ctx, in the terms of C: 0 is no limit, so that what has
// passed is 1.
func timeoutNS(ctx context.Context) uint64 {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return uint64(max(1, time.Until(deadline)))
}
