package testenv

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// envtestVersion is a release of kubernetes-sigs/controller-tools. The checksums are from its
// envtest-releases.yaml at 43475818. Its kube-apiserver may be another patch release than the one
// that e2e/controlplane builds. No test depends on the difference.
const envtestVersion = "1.36.2"

var envtestSums = map[string]string{
	"darwin-amd64": "b4fe9f973cd1992e3880f8b230ed32c0c243b83371591e3e3315f4404df2cdbef8ee94eeb9bb245b7e5feb987d5c4a76c43e0877654ab73f00d7bbc2b9984514",
	"darwin-arm64": "9278f9e5af556b2f1f2d139769c1f0d717c7b4426917fdebdba898bcb725a916e4910d6160886194ff9be9589ea7c5c32c2b8ae0754703874b7c8ba8ddfc41ce",
	"linux-amd64":  "ea743186c8a799f5cf8faf16969f86189d003cb7d130e0ac4b58789f1e5748dcf30ebe91c837a10d5ac415383da3e10b9e64d65785c938c23e739781cfb76f08",
	"linux-arm64":  "2d72ee985a8e262a3c57dc9f7f0fd891f6a8c7bf7ebaa2db6dc6d8eac8ae28181afe51c1f368b67756cdb40b10de9b205609e1726e5f27f7c6d824dd9c6649ac",
}

// maxServer is the maximum size of an unpacked program in bytes.
const maxServer = 512 << 20

// release is an archive of servers to download.
type release struct {
	url string
	// sum is the archive's SHA-512 in hex, or "" if there is no archive for this platform.
	sum string
	// answer is the timeout for the start of the response, and stall is the timeout for each
	// further chunk.
	answer, stall time.Duration
}

// releasedServers is the release's archive for this platform.
var releasedServers = release{
	url: fmt.Sprintf("https://github.com/kubernetes-sigs/controller-tools/releases/download/envtest-v%s/envtest-v%s-%s-%s.tar.gz",
		envtestVersion, envtestVersion, runtime.GOOS, runtime.GOARCH),
	sum:    envtestSums[runtime.GOOS+"-"+runtime.GOARCH],
	answer: 4 * time.Second,
	stall:  15 * time.Second,
}

// download fetches and verifies the archive, and unpacks the servers into dir. After an error, dir
// doesn't exist. It writes progress to w.
func (r release) download(ctx context.Context, dir string, w io.Writer) error {
	if r.sum == "" {
		return fmt.Errorf("there is no archive for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	half, err := os.MkdirTemp(filepath.Dir(dir), ".half-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(half)
	archive, err := os.Create(filepath.Join(half, "archive"))
	if err != nil {
		return err
	}
	defer archive.Close()
	if err := r.fetch(ctx, archive, w); err != nil {
		return err
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return err
	}
	servers := filepath.Join(half, "servers")
	if err := unpack(archive, servers); err != nil {
		return fmt.Errorf("the archive is broken: %w", err)
	}
	if err := os.Rename(servers, dir); err != nil && !errors.Is(err, os.ErrExist) { // another run was faster
		return err
	}
	return nil
}

// fetch writes the archive to a file and verifies its checksum.
func (r release) fetch(ctx context.Context, to io.Writer, w io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(r.answer, func() { cancel(fmt.Errorf("no answer within %s", r.answer)) })
	defer late.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s returned %s", req.URL.Host, resp.Status)
	}
	late.Stop()
	stalled := time.AfterFunc(r.stall, func() { cancel(fmt.Errorf("no more data for %s", r.stall)) })
	defer stalled.Stop()
	sum := sha512.New()
	bar := &bar{progress: w, what: "downloading kube-apiserver and etcd " + envtestVersion, total: resp.ContentLength, began: time.Now(),
		more: func() { stalled.Reset(r.stall) }}
	if _, err := io.Copy(io.MultiWriter(to, sum, bar), resp.Body); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	bar.end()
	if got := hex.EncodeToString(sum.Sum(nil)); got != r.sum {
		return fmt.Errorf("its SHA-512 is %.12s…, not %.12s…", got, r.sum)
	}
	return nil
}

// unpack creates dir and extracts the servers into it.
func unpack(archive io.Reader, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	plain, err := gzip.NewReader(archive)
	if err != nil {
		return err
	}
	left := slices.Clone(servers)
	for files := tar.NewReader(plain); len(left) > 0; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("it lacks %s", strings.Join(left, ", "))
		}
		if err != nil {
			return err
		}
		at := slices.Index(left, path.Base(header.Name))
		if at < 0 || header.Typeflag != tar.TypeReg {
			continue
		}
		if err := write(filepath.Join(dir, left[at]), io.LimitReader(files, maxServer)); err != nil {
			return err
		}
		left = slices.Delete(left, at, at+1)
	}
	return nil
}

func write(path string, from io.Reader) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

// bar displays the progress of a download.
type bar struct {
	progress    io.Writer
	what        string
	total, done int64
	began, last time.Time
	more        func() // called for each chunk of the download
}

// Write implements [io.Writer]. It prints progress at most once a second. On a terminal, it
// overwrites the previous line.
func (b *bar) Write(p []byte) (int, error) {
	b.more()
	b.done += int64(len(p))
	if now := time.Now(); now.Sub(b.last) >= time.Second {
		b.last = now
		b.show()
	}
	return len(p), nil
}

func (b *bar) show() {
	const width = 30
	line := fmt.Sprintf("%s: %d MB", b.what, b.done/1e6)
	if b.total > 0 {
		full := int(min(width, width*b.done/b.total))
		line = fmt.Sprintf("%s: [%s%s] %d of %d MB", b.what, strings.Repeat("#", full), strings.Repeat(".", width-full), b.done/1e6, b.total/1e6)
	}
	begin, end := "", "\n"
	if f, ok := b.progress.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			begin, end = "\r\x1b[K", ""
		}
	}
	_, _ = fmt.Fprint(b.progress, begin+line+end) // a download succeeds even if its progress can't be printed
}

func (b *bar) end() {
	b.show()
	_, _ = fmt.Fprintf(b.progress, "\n%s: done after %.0f s\n", b.what, time.Since(b.began).Seconds())
}
