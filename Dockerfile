# The tag is for people; the digest pins the image. The image sets `GOTOOLCHAIN=local`, so go.mod
# cannot download another toolchain.
FROM --platform=$BUILDPLATFORM golang:1.26.8-trixie@sha256:eae2aaa6add2936cbf350dd0d2628b363461542f0c4b3c0b558957e0f2997379 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH
ARG VERSION=dev
# The same source and VERSION give the same bytes on every machine: the program contains no paths, no
# VCS state, and no build ID. It is static, because the final image has no libc.
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false \
      -ldflags "-s -w -buildid= -X github.com/fernetcast/fernetcast/internal/cli.version=$VERSION" \
      -o fernetcast .

FROM scratch
# For remotes with a publicly trusted certificate and no CA in the kubeconfig.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/fernetcast /usr/local/bin/fernetcast
# A number, so that the kubelet can verify that it is not root.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/fernetcast"]
CMD ["run"]
