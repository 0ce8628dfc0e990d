/* What the parts of the load generator share. */
#ifndef LOAD_H
#define LOAD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* measure.c */
uint64_t now_ns(void);
void die(const char* what);
double server_cpu_seconds(void);
double server_memory_kib(void);
void watch_processes(char* pids);
void record_latency(double microseconds);
double latency_ms(double quantile);

/* buffer.c */
typedef struct {
  char* bytes;
  size_t length, room;
} Buffer;
void append(Buffer* buffer, const void* bytes, size_t length);
void append_text(Buffer* buffer, const char* format, ...) __attribute__((format(printf, 2, 3)));
void discard(Buffer* buffer, size_t length);

/* wire.c: HTTP and WebSocket on a non-blocking socket */
typedef struct {
  int fd, port, is_websocket, upgraded, closed;
  char cookies[512];
  Buffer in, out, message;
  void* owner;
} Wire;
extern const char* mount;
void open_poll(void);
void dial(Wire* wire);
void hang_up(Wire* wire);
void send_message(Wire* wire, const char* json, size_t length);
/* Waits for traffic at most so long, and hands it to the two below. */
void serve_traffic(int milliseconds);
void on_upgraded(Wire* wire);
void on_message(Wire* wire, char* json, size_t length);
void on_hung_up(Wire* wire);

/* client.c: one Bayeux session, or a further connection of one */
typedef enum { DIALLING, HANDSHAKING, SUBSCRIBING, READY, LEAVING, DEAD } State;
typedef struct Client {
  Wire wire;
  State state;
  int number, subscribes;
  struct Client* session_of; /* publishes in that one's name; NULL: it has a session */
  char id[160];
  int open_connects;
} Client;
typedef struct {
  int clients, channels, subscriptions, unrelated, publishers, own, batch, payload, window,
      together, leaving;
  int websocket, publish_websocket, verbose, ask, stay;
  double warm_up, seconds, rate, idle, patience;
  const char* prefix;
} Options;
extern Options options;
typedef struct {
  long published, expected, delivered, refused;
  int ready, leaving, dead, measuring;
} Totals;
extern Totals totals;
extern long* subscribers_of; /* by channel */
void start_client(Client* client);
void join_session(Client* client);
void leave(Client* client);
int publish_batch(Client* client, int channel);

#endif
