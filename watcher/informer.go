package watcher

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// inform runs a shared informer until ctx is done, or another is to begin: that
// one lists at once, without the back-off that this one may be in. Its cache is
// not asked, because it knows nothing of our GETs.
func (w *Watcher) inform(ctx context.Context) {
	ctx, restart := context.WithCancel(ctx)
	defer restart()
	w.mu.Lock()
	w.watch.restart, w.watch.alive = restart, silent
	w.mu.Unlock()
	// Its own lines would tell of the same error at each try.
	ctx = klog.NewContext(ctx, klog.Logger{})
	informer := cache.NewTypedSharedIndexInformer[*corev1.Secret](
		cache.NewSharedIndexInformerWithOptions(w.lists, &corev1.Secret{}, cache.SharedIndexInformerOptions{}))
	// It is not started yet, so neither can fail.
	_ = informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {})
	handler, _ := informer.AddTypedEventHandler(cache.TypedResourceEventHandlerFuncs[*corev1.Secret]{
		AddFunc:    func(s *corev1.Secret) { w.watched(s, s.ResourceVersion) },
		UpdateFunc: func(_, s *corev1.Secret) { w.watched(s, s.ResourceVersion) },
		DeleteFunc: func(d cache.DeletedObject[*corev1.Secret]) {
			version := informer.GetStore().LastStoreSyncResourceVersion()
			if d.FinalStateUnknown == nil {
				version = d.OptionalObj.ResourceVersion // of the deletion
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
		if len(informer.GetStore().List()) == 0 { // a Secret that is absent at the start is no event
			w.watched(nil, listed)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.watch.alive = func() bool { return informer.LastSyncResourceVersion() != listed }
	})
	informer.RunWithContext(ctx)
}

// watched takes an event of the informer.
func (w *Watcher) watched(secret *corev1.Secret, version string) {
	if w.view.Watched(secret, version) {
		w.notify()
	}
}

// watchFailed marks the source stale, because the watch may miss what changes now.
// The source is read at once, and often until a watch is steady.
func (w *Watcher) watchFailed(err error, first bool) {
	w.view.MarkStale()
	if first {
		w.opts.Log.Warn("the watch of the source is broken, so the source is read often", "every", unwatchedPoll, "error", err)
		w.readSoon()
	}
}

// restartInformer ends the informer, so that Run begins another. After a deaf one,
// the source is read often until a watch brings something, be it a bookmark.
func (w *Watcher) restartInformer(deaf bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watch.restart == nil || deaf && w.lists.Unsteady() { // one that is known to be broken begins again by itself
		return
	}
	w.lists.Restart()
	w.watch.restart()
	w.watch.alive = silent // what it has brought says nothing of the next one
	if deaf && !w.watch.deaf {
		w.watch.deaf = true
		w.opts.Log.Warn("the watch of the source brings nothing, so another begins: a connection that died, or an etcd that was restored?")
	}
}
