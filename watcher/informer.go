package watcher

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// inform runs a shared informer until ctx is done or restartInformer is called. Since each informer
// has its own backoff, the next one lists immediately. The informer's cache isn't used, because it
// doesn't include the results of our own GETs.
func (w *Watcher) inform(ctx context.Context) {
	ctx, restart := context.WithCancel(ctx)
	defer restart()
	w.mu.Lock()
	w.watch.restart, w.watch.alive = restart, silent
	w.mu.Unlock()
	// client-go would log the same error at every retry.
	ctx = klog.NewContext(ctx, klog.Logger{})
	informer := cache.NewTypedSharedIndexInformer[*corev1.Secret](
		cache.NewSharedIndexInformerWithOptions(w.lists, &corev1.Secret{}, cache.SharedIndexInformerOptions{}))
	// This call and AddTypedEventHandler can't fail before the informer starts.
	_ = informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {})
	handler, _ := informer.AddTypedEventHandler(cache.TypedResourceEventHandlerFuncs[*corev1.Secret]{
		AddFunc:    func(s *corev1.Secret) { w.watched(s, s.ResourceVersion) },
		UpdateFunc: func(_, s *corev1.Secret) { w.watched(s, s.ResourceVersion) },
		DeleteFunc: func(d cache.DeletedObject[*corev1.Secret]) {
			version := informer.GetStore().LastStoreSyncResourceVersion()
			if d.FinalStateUnknown == nil {
				version = d.OptionalObj.ResourceVersion // the version of the deletion
			}
			w.watched(nil, version)
		},
	})
	var absence sync.WaitGroup
	defer absence.Wait()
	absence.Go(func() {
		if !cache.WaitFor(ctx, "", handler.HasSyncedChecker()) {
			return
		}
		listed := informer.GetStore().LastStoreSyncResourceVersion()
		if len(informer.GetStore().List()) == 0 { // an absent Secret causes no event at the start
			w.watched(nil, listed)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.watch.alive = func() bool { return informer.LastSyncResourceVersion() != listed }
	})
	informer.RunWithContext(ctx)
}

// watched records an event of the informer.
func (w *Watcher) watched(secret *corev1.Secret, version string) {
	if w.view.Watched(secret, version) {
		w.notify()
	}
}

// watchFailed marks the source stale, because the watch may miss changes. It makes Run read the
// source immediately, and then frequently until a watch is steady.
func (w *Watcher) watchFailed(err error, first bool) {
	w.view.MarkStale()
	if first {
		w.opts.Log.Warn("source watch failed; polling", "every", unwatchedPoll, "error", err)
		w.readSoon()
	}
}

// restartInformer ends the informer, so that Run starts another. If stalled is true, Run also reads
// the source frequently until a watch delivers something, such as a bookmark.
func (w *Watcher) restartInformer(stalled bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watch.restart == nil || stalled && w.lists.Unsteady() { // a watch known to be broken restarts by itself
		return
	}
	w.lists.Restart()
	w.watch.restart()
	w.watch.alive = silent // events of the old watch don't prove that the next one works
	if stalled && !w.watch.stalled {
		w.watch.stalled = true
		w.opts.Log.Warn("source watch stalled; restarting it")
	}
}
