# The program alone: a static binary, a user without rights, and nothing else to
# break into. Build it in the folder of an unpacked release:
#
#   docker build -t purepool .
#
# or in the source tree after `make build`, with --build-arg BINARY=bin/purepool.
# For certificates by ACME mount the machine's authorities: -v /etc/ssl/certs:/etc/ssl/certs:ro
FROM scratch
ARG BINARY=purepool
COPY deploy/container/root/etc/ /etc/
COPY --chown=65532:65532 deploy/container/root/data/ /var/lib/purepool/
COPY ${BINARY} /purepool
USER 65532:65532
VOLUME /var/lib/purepool
EXPOSE 80 3333 8081
STOPSIGNAL SIGTERM
ENTRYPOINT ["/purepool"]
CMD ["--help"]
