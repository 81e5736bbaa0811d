# Images of the data plane and of the operator:
#
#   docker build --target node     -t registry.example.com/meridian-node:0.1.0 .
#   docker build --target operator -t registry.example.com/meridian-operator:0.1.0 .
#
# `--build-arg MERIDIAN_COMMIT=$(git rev-parse HEAD)` sets the commit that `GET /` of a node reports.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
ARG MERIDIAN_COMMIT
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked -p meridian-node -p meridian-operator \
    && install -D target/release/meridian-node target/release/meridian-operator -t /out

# glibc, libgcc and certificates, no shell; user 65532.
FROM gcr.io/distroless/cc-debian12:nonroot AS base
USER 65532:65532

FROM base AS node
COPY --from=build /out/meridian-node /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/meridian-node"]

FROM base AS operator
COPY --from=build /out/meridian-operator /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/meridian-operator"]
