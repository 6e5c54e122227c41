# One image per binary: --build-arg PACKAGE=atalaya-collector, …, or atalaya for all seven in one process.
# BuildKit or buildah; what cargo fetches and compiles stays in cache mounts between builds.
ARG RUST_VERSION=1.95

FROM docker.io/library/rust:${RUST_VERSION}-bookworm AS build
WORKDIR /src
COPY . .
ARG PACKAGE=atalaya
ENV CARGO_PROFILE_RELEASE_STRIP=symbols
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --locked --release --package "${PACKAGE}" --bin "${PACKAGE}" \
    && install -D "target/release/${PACKAGE}" "/out/${PACKAGE}" \
    && ln -s "${PACKAGE}" /out/service

# glibc, libgcc, certificates of public authorities, /etc/passwd; no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG PACKAGE=atalaya
LABEL org.opencontainers.image.title="${PACKAGE}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/ /usr/local/bin/
# By number: `runAsNonRoot` cannot check a name.
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["/usr/local/bin/service"]
