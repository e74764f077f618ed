/* Loaded into the engine by LD_PRELOAD: lets the n-th operation on files of a folder fail, writes come up short, syncs
 * take their time, and the wall clock be wrong. Told what to do through a shared file, see faults.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct orders {
    _Atomic int64_t operations; /* counted so far */
    _Atomic int64_t fail_at;    /* this one fails, once; 0 is none */
    _Atomic int64_t error;      /* with this errno */
    _Atomic int64_t short_every; /* every so many writes write half */
    _Atomic int64_t interrupt_every; /* every so many writes are interrupted */
    _Atomic int64_t sync_ms;    /* added to each sync */
    _Atomic int64_t clock_ms;   /* added to the wall clock */
    _Atomic int64_t failed;     /* how many were made to fail */
    _Atomic int64_t writes;
    _Atomic int64_t only_syncs; /* count syncs alone */
};

static struct orders *orders;
static char folder[512], spared[64]; /* files whose path holds `spared` are left alone */

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void set_up(void) {
    const char *path = getenv("CHAOS_ORDERS"), *where = getenv("CHAOS_FOLDER");
    if (!path || !where) return;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *map = mmap(NULL, sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map != MAP_FAILED) orders = map;
    snprintf(folder, sizeof folder, "%s", where);
    if (getenv("CHAOS_SPARED")) snprintf(spared, sizeof spared, "%s", getenv("CHAOS_SPARED"));
}

static int is_ours(const char *path) {
    if (!orders || !folder[0] || strncmp(path, folder, strlen(folder)) != 0) return 0;
    return !spared[0] || !strstr(path, spared);
}

static int is_our_file(int file) {
    if (!orders) return 0;
    char link[64], path[1024];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return is_ours(path);
}

/* Counts an operation; true if it is to fail, with errno set. */
static int fails(int is_sync) {
    if (orders->only_syncs && !is_sync) return 0;
    int64_t number = ++orders->operations;
    if (number != orders->fail_at) return 0;
    orders->failed++;
    errno = (int)orders->error;
    return 1;
}

/* How much of a write is done: all, half, or none with EINTR. */
static ssize_t part_of(size_t length) {
    int64_t number = ++orders->writes;
    if (orders->interrupt_every && number % orders->interrupt_every == 0) {
        errno = EINTR;
        return -1;
    }
    if (orders->short_every && number % orders->short_every == 0 && length > 1) return (ssize_t)(length / 2);
    return (ssize_t)length;
}

ssize_t write(int file, const void *bytes, size_t length) {
    REAL(ssize_t, write, int, const void *, size_t);
    if (is_our_file(file)) {
        if (fails(0)) return -1;
        ssize_t part = part_of(length);
        if (part < 0) return -1;
        length = (size_t)part;
    }
    return real(file, bytes, length);
}

static ssize_t write_at(int file, const void *bytes, size_t length, off64_t at) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    if (is_our_file(file)) {
        if (fails(0)) return -1;
        ssize_t part = part_of(length);
        if (part < 0) return -1;
        length = (size_t)part;
    }
    return real(file, bytes, length, at);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t at) { return write_at(file, bytes, length, at); }
ssize_t pwrite(int file, const void *bytes, size_t length, off_t at) { return write_at(file, bytes, length, at); }

static void dawdle(void) {
    if (orders->sync_ms) usleep((useconds_t)(orders->sync_ms * 1000));
}

int fsync(int file) {
    REAL(int, fsync, int);
    if (is_our_file(file)) {
        dawdle();
        if (fails(1)) return -1;
    }
    return real(file);
}

int fdatasync(int file) {
    REAL(int, fdatasync, int);
    if (is_our_file(file)) {
        dawdle();
        if (fails(1)) return -1;
    }
    return real(file);
}

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    if (is_ours(to) && fails(0)) return -1;
    return real(from, to);
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    if (is_ours(path) && fails(0)) return -1;
    return real(path);
}

int ftruncate64(int file, off64_t length) {
    REAL(int, ftruncate64, int, off64_t);
    if (is_our_file(file) && fails(0)) return -1;
    return real(file, length);
}

static int opened(const char *name, const char *path, int flags, mode_t mode) {
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, name);
    if (is_ours(path) && fails(0)) return -1;
    return real(path, flags, mode);
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        return opened(#name, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(int, clock_gettime, clockid_t, struct timespec *);
    int result = real(clock, now);
    if (orders && clock == CLOCK_REALTIME && result == 0) {
        int64_t off = orders->clock_ms;
        now->tv_sec += off / 1000;
        now->tv_nsec += off % 1000 * 1000000;
        if (now->tv_nsec < 0) now->tv_sec--, now->tv_nsec += 1000000000;
        if (now->tv_nsec >= 1000000000) now->tv_sec++, now->tv_nsec -= 1000000000;
    }
    return result;
}
