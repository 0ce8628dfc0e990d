/* HTTP/1.1 and WebSocket as a client speaks them, as far as Bayeux servers answer.
 * Only 127.0.0.1 is ever dialled. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "load.h"

enum { TEXT = 1, CLOSE = 8, PING = 9 };

const char* mount = "/bayeux";
static int poller;

void open_poll(void) { poller = epoll_create1(0); }

static void watch(Wire* wire, int operation) {
  struct epoll_event event = {.events = EPOLLIN | (wire->out.length ? EPOLLOUT : 0),
                              .data.ptr = wire};
  epoll_ctl(poller, operation, wire->fd, &event);
}

static void flush(Wire* wire) {
  size_t before = wire->out.length, written = 0;
  while (written < before) {
    ssize_t n = send(wire->fd, wire->out.bytes + written, before - written, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) break;
    written = n < 0 ? before : written + n; /* a broken pipe shows when it is read */
  }
  discard(&wire->out, written);
  watch(wire, EPOLL_CTL_MOD);
}

void hang_up(Wire* wire) {
  if (wire->closed) return;
  wire->closed = 1;
  close(wire->fd);
}

void dial(Wire* wire) {
  int on = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(wire->port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  wire->fd = socket(AF_INET, SOCK_STREAM, 0);
  wire->closed = wire->upgraded = wire->in.length = wire->out.length = 0;
  setsockopt(wire->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (wire->fd < 0 || connect(wire->fd, (void*)&address, sizeof address)) die("connect");
  fcntl(wire->fd, F_SETFL, O_NONBLOCK);
  watch(wire, EPOLL_CTL_ADD);
  if (!wire->is_websocket) return;
  append_text(
      &wire->out,
      "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
      mount, wire->port);
  flush(wire);
}

static void put_frame(Wire* wire, int opcode, const char* payload, size_t length) {
  unsigned char head[14] = {0x80 | opcode};
  int n = 2;
  if (length < 126) {
    head[1] = 0x80 | length;
  } else {
    int bytes = length < 65536 ? 2 : 8;
    head[1] = 0x80 | (bytes == 2 ? 126 : 127);
    for (int i = bytes - 1; i >= 0; i--) head[n++] = (uint64_t)length >> (8 * i);
  }
  unsigned char* mask = head + n;
  for (int i = 0; i < 4; i++) mask[i] = rand() >> 7;
  append(&wire->out, head, n + 4);
  append(&wire->out, payload, length);
  char* masked = wire->out.bytes + wire->out.length - length;
  for (size_t i = 0; i < length; i++) masked[i] ^= mask[i & 3];
}

void send_message(Wire* wire, const char* json, size_t length) {
  if (wire->is_websocket) {
    put_frame(wire, TEXT, json, length);
  } else {
    append_text(&wire->out,
                "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
                "%s%s%sContent-Length: %zu\r\n\r\n",
                mount, wire->port, *wire->cookies ? "Cookie: " : "", wire->cookies,
                *wire->cookies ? "\r\n" : "", length);
    append(&wire->out, json, length);
  }
  flush(wire);
}

static void hand_on(Wire* wire, size_t consumed) {
  append(&wire->message, "", 1);
  discard(&wire->in, consumed);
  on_message(wire, wire->message.bytes, wire->message.length - 1);
}

/* CometD ties a session to its browser's cookie. */
static void keep_cookie(Wire* wire, char* head) {
  char* cookie = strcasestr(head, "\nset-cookie:");
  if (!cookie || *wire->cookies) return;
  cookie += strlen("\nset-cookie:");
  while (*cookie == ' ') cookie++;
  size_t length = strcspn(cookie, ";\r\n");
  if (length < sizeof wire->cookies) {
    memcpy(wire->cookies, cookie, length);
    wire->cookies[length] = 0;
  }
}

static size_t read_chunks(Wire* wire, size_t start) {
  char *at = wire->in.bytes + start, *end = wire->in.bytes + wire->in.length;
  for (;;) {
    char* line_end = memmem(at, end - at, "\r\n", 2);
    if (!line_end) return 0;
    size_t length = strtoul(at, 0, 16);
    if ((size_t)(end - line_end) < length + 4) return 0;
    append(&wire->message, line_end + 2, length);
    at = line_end + 4 + length;
    if (!length) return at - wire->in.bytes;
  }
}

/* Gives whether a whole response was consumed. */
static int read_response(Wire* wire) {
  char* head_end = memmem(wire->in.bytes, wire->in.length, "\r\n\r\n", 4);
  if (!head_end) return 0;
  size_t body = head_end + 4 - wire->in.bytes, end = 0;
  head_end[2] = 0;
  char* head = wire->in.bytes;
  wire->message.length = 0;
  if (wire->is_websocket) {
    if (!strstr(head, " 101 ")) die(head);
    wire->upgraded = 1;
    discard(&wire->in, body);
    on_upgraded(wire);
    return 1;
  }
  keep_cookie(wire, head);
  char* declared = strcasestr(head, "\ncontent-length:");
  if (declared) {
    size_t length = strtoul(declared + strlen("\ncontent-length:"), 0, 10);
    if (wire->in.length >= body + length) {
      append(&wire->message, wire->in.bytes + body, length);
      end = body + length;
    }
  } else if (strcasestr(head, "\ntransfer-encoding: chunked")) {
    end = read_chunks(wire, body);
  } else {
    die("a response without a length");
  }
  head_end[2] = '\r';
  if (end) hand_on(wire, end);
  return end > 0;
}

/* Gives whether a whole frame was consumed. */
static int read_frame(Wire* wire) {
  unsigned char* bytes = (unsigned char*)wire->in.bytes;
  if (wire->in.length < 2) return 0;
  uint64_t length = bytes[1] & 127;
  size_t head = 2;
  int opcode = bytes[0] & 15, extra = length == 126 ? 2 : length == 127 ? 8 : 0;
  if (wire->in.length < head + extra) return 0;
  if (extra) length = 0;
  for (int i = 0; i < extra; i++) length = length << 8 | bytes[head++];
  if (wire->in.length < head + length) return 0;
  wire->message.length = 0;
  append(&wire->message, wire->in.bytes + head, length);
  if (opcode <= TEXT) {
    hand_on(wire, head + length);
    return 1;
  }
  discard(&wire->in, head + length);
  if (opcode == PING) {
    put_frame(wire, 10, wire->message.bytes, length);
    flush(wire);
  } else if (opcode == CLOSE) {
    hang_up(wire);
    on_hung_up(wire);
  }
  return 1;
}

static void on_readable(Wire* wire) {
  static char bytes[1 << 16];
  ssize_t n;
  int on = 1; /* or else the kernel's delayed acknowledgements, 40 ms, show as latency */
  setsockopt(wire->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
  while ((n = read(wire->fd, bytes, sizeof bytes)) > 0) {
    append(&wire->in, bytes, n);
    if (n < (ssize_t)sizeof bytes) break;
  }
  while (!wire->closed && wire->in.length)
    if (!(wire->upgraded ? read_frame(wire) : read_response(wire))) break;
  if (!wire->closed && (n == 0 || (n < 0 && errno != EAGAIN))) {
    hang_up(wire);
    on_hung_up(wire);
  }
}

void serve_traffic(int milliseconds) {
  struct epoll_event events[256];
  int count = epoll_wait(poller, events, 256, milliseconds);
  for (int i = 0; i < count; i++) {
    Wire* wire = events[i].data.ptr;
    if (!wire->closed && events[i].events & EPOLLOUT) flush(wire);
    if (!wire->closed && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(wire);
  }
}
