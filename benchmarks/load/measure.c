/* CPU time and memory of the server, and latencies. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "load.h"

enum { DOUBLINGS = 40, STEPS = 100 };

static struct {
  int pid;
  clockid_t clock;
} processes[MAX_PROCESSES];
static int process_count;
static long histogram[DOUBLINGS * STEPS];

void die(const char* what) {
  perror(what);
  exit(2);
}

static double seconds_of(clockid_t clock) {
  struct timespec time;
  return clock_gettime(clock, &time) ? 0 : time.tv_sec + time.tv_nsec / 1e9;
}

uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ull + time.tv_nsec;
}

void track_processes(char* pids) {
  for (char* pid = strtok(pids, ","); pid && process_count < MAX_PROCESSES; pid = strtok(0, ",")) {
    processes[process_count].pid = atoi(pid);
    if (clock_getcpuclockid(atoi(pid), &processes[process_count].clock)) die("no such process");
    process_count++;
  }
}

int tracked_processes(void) { return process_count; }

/* User and system time of all threads, including ended ones; nanosecond resolution. */
double cpu_seconds_of(int process) { return seconds_of(processes[process].clock); }

double server_cpu_seconds(void) {
  double sum = 0;
  for (int i = 0; i < process_count; i++) sum += cpu_seconds_of(i);
  return sum;
}

double server_memory_kib(void) {
  double sum = 0;
  for (int i = 0; i < process_count; i++) {
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", processes[i].pid);
    FILE* status = fopen(path, "r");
    if (!status) continue;
    double resident;
    while (fgets(line, sizeof line, status))
      if (sscanf(line, "VmRSS: %lf", &resident) == 1) sum += resident;
    fclose(status);
  }
  return sum;
}

/* A log-linear histogram with 100 steps per doubling. */
void record_latency(double microseconds) {
  int doubling = 0;
  double base = 1;
  if (microseconds < 1) microseconds = 1;
  while (microseconds >= 2 * base && doubling < DOUBLINGS - 1) {
    base *= 2;
    doubling++;
  }
  int step = (int)((microseconds / base - 1) * STEPS);
  histogram[doubling * STEPS + (step < STEPS ? step : STEPS - 1)]++;
}

double latency_ms(double quantile) {
  long all = 0, seen = 0;
  for (int i = 0; i < DOUBLINGS * STEPS; i++) all += histogram[i];
  for (int i = 0; all && i < DOUBLINGS * STEPS; i++)
    if ((seen += histogram[i]) >= quantile * all)
      return (double)(1ull << (i / STEPS)) * (1 + i % STEPS / (double)STEPS) / 1000;
  return 0;
}
