/*
 * Publishes new blocks as a daemon with -zmqpubhashblock does, from libzmq's own
 * PUB socket: three frames, the topic, the hash in display order, the number of
 * the message.
 *
 *   publisher tcp://host:port [heartbeat]
 *
 * Hashes are read from the standard input, one a line, 64 hex digits; a line
 * "skip" lets one number out. With a heartbeat, in milliseconds, subscribers
 * that do not answer are dropped. It prints "bound" once it can be reached.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From zmq.h, which a machine that only runs programs does not have. */
extern void *zmq_ctx_new(void);
extern void *zmq_socket(void *context, int type);
extern int zmq_setsockopt(void *socket, int option, const void *value, size_t size);
extern int zmq_bind(void *socket, const char *address);
extern int zmq_send(void *socket, const void *data, size_t size, int flags);
enum { PUB = 1, SNDMORE = 2, LINGER = 17, HEARTBEAT_IVL = 75 };

int main(int argc, char **argv) {
	void *socket = zmq_socket(zmq_ctx_new(), PUB);
	int heartbeat = argc > 2 ? atoi(argv[2]) : 0, none = 0;
	zmq_setsockopt(socket, LINGER, &none, sizeof none);
	if (heartbeat > 0) zmq_setsockopt(socket, HEARTBEAT_IVL, &heartbeat, sizeof heartbeat);
	if (argc < 2 || zmq_bind(socket, argv[1]) != 0) {
		fprintf(stderr, "publisher: cannot bind\n");
		return 1;
	}
	puts("bound");
	fflush(stdout);
	char line[128];
	for (uint32_t number = 0; fgets(line, sizeof line, stdin); number++) {
		unsigned char hash[32], tail[4];
		unsigned byte;
		if (strncmp(line, "skip", 4) == 0) continue;
		for (int i = 0; i < 32; i++) {
			if (sscanf(line + 2 * i, "%2x", &byte) != 1) return 2;
			hash[i] = byte;
		}
		for (int i = 0; i < 4; i++) tail[i] = number >> 8 * i;
		zmq_send(socket, "hashblock", 9, SNDMORE);
		zmq_send(socket, hash, sizeof hash, SNDMORE);
		zmq_send(socket, tail, sizeof tail, 0);
	}
	return 0;
}
