# Build, then only the binary and what it links to. `docker build -t towpath .`
# The version in rust-toolchain.toml: another would be fetched at every build.
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package towpath && cp target/release/towpath /towpath && mkdir /data

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /towpath /usr/local/bin/towpath
COPY --from=build --chown=65532:65532 /data /data
# The image's `nonroot`, as a number: Kubernetes cannot tell by a name that it is not root.
USER 65532:65532
VOLUME /data
EXPOSE 7777
ENV TOWPATH_SERVER_LISTEN=0.0.0.0:7777 TOWPATH_STORE_DATA=/data TOWPATH_LOG_FORMAT=json
# There is no shell or curl in the image: the binary asks itself, where TOWPATH_SERVER_LISTEN or the file of TOWPATH_CONFIG says.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/usr/local/bin/towpath", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/towpath"]
CMD ["serve"]
