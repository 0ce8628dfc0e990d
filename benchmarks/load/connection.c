/* The client's side of HTTP/1.1 and WebSocket, as far as the servers use them.
 * Connects to 127.0.0.1 only. */
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

const char* path = "/bayeux";
static int poller;

void create_poller(void) { poller = epoll_create1(0); }

static void register_events(Connection* connection, int operation) {
  struct epoll_event event = {.events = EPOLLIN | (connection->out.length ? EPOLLOUT : 0),
                              .data.ptr = connection};
  epoll_ctl(poller, operation, connection->fd, &event);
}

static void flush(Connection* connection) {
  size_t before = connection->out.length, written = 0;
  while (written < before) {
    ssize_t n =
        send(connection->fd, connection->out.bytes + written, before - written, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) break;
    written = n < 0 ? before : written + n; /* reading will report a broken pipe */
  }
  discard(&connection->out, written);
  register_events(connection, EPOLL_CTL_MOD);
}

void close_connection(Connection* connection) {
  if (connection->closed) return;
  connection->closed = 1;
  close(connection->fd);
}

void open_connection(Connection* connection) {
  int on = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(connection->port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  connection->fd = socket(AF_INET, SOCK_STREAM, 0);
  connection->closed = connection->upgraded = connection->in.length = connection->out.length = 0;
  setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connection->fd < 0 || connect(connection->fd, (void*)&address, sizeof address))
    die("connect");
  fcntl(connection->fd, F_SETFL, O_NONBLOCK);
  register_events(connection, EPOLL_CTL_ADD);
  if (!connection->is_websocket) return;
  append_text(
      &connection->out,
      "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
      path, connection->port);
  flush(connection);
}

static void append_frame(Connection* connection, int opcode, const char* payload, size_t length) {
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
  append(&connection->out, head, n + 4);
  append(&connection->out, payload, length);
  char* masked = connection->out.bytes + connection->out.length - length;
  for (size_t i = 0; i < length; i++) masked[i] ^= mask[i & 3];
}

void send_message(Connection* connection, const char* json, size_t length) {
  if (connection->is_websocket) {
    append_frame(connection, TEXT, json, length);
  } else {
    append_text(&connection->out,
                "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
                "%s%s%sContent-Length: %zu\r\n\r\n",
                path, connection->port, *connection->cookies ? "Cookie: " : "",
                connection->cookies,
                *connection->cookies ? "\r\n" : "", length);
    append(&connection->out, json, length);
  }
  flush(connection);
}

void send_close(Connection* connection) {
  append_frame(connection, CLOSE, "\x03\xe8", 2); /* 1000: a normal end */
  flush(connection);
}

static void pass_message(Connection* connection, size_t consumed) {
  append(&connection->message, "", 1);
  discard(&connection->in, consumed);
  on_message(connection, connection->message.bytes, connection->message.length - 1);
}

/* CometD requires the cookie that it sets for a session. */
static void store_cookie(Connection* connection, char* head) {
  char* cookie = strcasestr(head, "\nset-cookie:");
  if (!cookie || *connection->cookies) return;
  cookie += strlen("\nset-cookie:");
  while (*cookie == ' ') cookie++;
  size_t length = strcspn(cookie, ";\r\n");
  if (length < sizeof connection->cookies) {
    memcpy(connection->cookies, cookie, length);
    connection->cookies[length] = 0;
  }
}

static size_t read_chunks(Connection* connection, size_t start) {
  char *at = connection->in.bytes + start, *end = connection->in.bytes + connection->in.length;
  for (;;) {
    char* line_end = memmem(at, end - at, "\r\n", 2);
    if (!line_end) return 0;
    size_t length = strtoul(at, 0, 16);
    if ((size_t)(end - line_end) < length + 4) return 0;
    append(&connection->message, line_end + 2, length);
    at = line_end + 4 + length;
    if (!length) return at - connection->in.bytes;
  }
}

/* Returns whether a complete response was consumed. */
static int read_response(Connection* connection) {
  char* head_end = memmem(connection->in.bytes, connection->in.length, "\r\n\r\n", 4);
  if (!head_end) return 0;
  size_t body = head_end + 4 - connection->in.bytes, end = 0;
  head_end[2] = 0;
  char* head = connection->in.bytes;
  connection->message.length = 0;
  if (connection->is_websocket) {
    if (!strstr(head, " 101 ")) die(head);
    connection->upgraded = 1;
    discard(&connection->in, body);
    on_upgraded(connection);
    return 1;
  }
  store_cookie(connection, head);
  char* declared = strcasestr(head, "\ncontent-length:");
  if (declared) {
    size_t length = strtoul(declared + strlen("\ncontent-length:"), 0, 10);
    if (connection->in.length >= body + length) {
      append(&connection->message, connection->in.bytes + body, length);
      end = body + length;
    }
  } else if (strcasestr(head, "\ntransfer-encoding: chunked")) {
    end = read_chunks(connection, body);
  } else {
    die("a response without a length");
  }
  head_end[2] = '\r';
  if (end) pass_message(connection, end);
  return end > 0;
}

/* Returns whether a complete frame was consumed. */
static int read_frame(Connection* connection) {
  unsigned char* bytes = (unsigned char*)connection->in.bytes;
  if (connection->in.length < 2) return 0;
  uint64_t length = bytes[1] & 127;
  size_t head = 2;
  int opcode = bytes[0] & 15, extra = length == 126 ? 2 : length == 127 ? 8 : 0;
  if (connection->in.length < head + extra) return 0;
  if (extra) length = 0;
  for (int i = 0; i < extra; i++) length = length << 8 | bytes[head++];
  if (connection->in.length < head + length) return 0;
  connection->message.length = 0;
  append(&connection->message, connection->in.bytes + head, length);
  if (opcode <= TEXT) {
    pass_message(connection, head + length);
    return 1;
  }
  discard(&connection->in, head + length);
  if (opcode == PING) {
    append_frame(connection, 10, connection->message.bytes, length);
    flush(connection);
  } else if (opcode == CLOSE) {
    close_connection(connection);
    on_closed(connection);
  }
  return 1;
}

static void on_readable(Connection* connection) {
  static char bytes[1 << 16];
  ssize_t n;
  int on = 1; /* otherwise delayed acknowledgements (40 ms) would count as latency */
  setsockopt(connection->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
  while ((n = read(connection->fd, bytes, sizeof bytes)) > 0) {
    append(&connection->in, bytes, n);
    if (n < (ssize_t)sizeof bytes) break;
  }
  while (!connection->closed && connection->in.length)
    if (!(connection->upgraded ? read_frame(connection) : read_response(connection))) break;
  if (!connection->closed && (n == 0 || (n < 0 && errno != EAGAIN))) {
    close_connection(connection);
    on_closed(connection);
  }
}

void poll_connections(int milliseconds) {
  struct epoll_event events[256];
  int count = epoll_wait(poller, events, 256, milliseconds);
  for (int i = 0; i < count; i++) {
    Connection* connection = events[i].data.ptr;
    if (!connection->closed && events[i].events & EPOLLOUT) flush(connection);
    if (!connection->closed && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
      on_readable(connection);
  }
}
