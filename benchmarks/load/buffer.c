/* A growable byte buffer. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

void append(Buffer* buffer, const void* bytes, size_t length) {
  if (buffer->length + length > buffer->room) {
    buffer->room = (buffer->length + length) * 2 + 256;
    buffer->bytes = realloc(buffer->bytes, buffer->room);
    if (!buffer->bytes) die("realloc");
  }
  memcpy(buffer->bytes + buffer->length, bytes, length);
  buffer->length += length;
}

void append_text(Buffer* buffer, const char* format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (length < 0 || (size_t)length >= sizeof text) die("a text is too long");
  append(buffer, text, length);
}

void discard(Buffer* buffer, size_t length) {
  buffer->length -= length;
  memmove(buffer->bytes, buffer->bytes + length, buffer->length);
}
