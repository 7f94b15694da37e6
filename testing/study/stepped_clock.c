/* LD_PRELOAD: the wall clock of the processes it is loaded into can be stepped from outside, as an operator's `date -s`
 * would step the machine's, and nobody else's is. The first 16 bytes of the file EARWITNESS_STEPPED_CLOCK names are two
 * native int64: the CLOCK_MONOTONIC instant of the step, ns (0: none yet), and its size, ns.
 *
 * What reads CLOCK_REALTIME is stepped: clock_gettime, gettimeofday, time, and the kernel's receive stamps of packets
 * (SO_TIMESTAMPNS in recvmsg), which are of the same clock. CLOCK_MONOTONIC goes on. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *step;
static int (*real_clock_gettime)(clockid_t, struct timespec *);
static ssize_t (*real_recvmsg)(int, struct msghdr *, int);

__attribute__((constructor)) static void load(void) {
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    real_recvmsg = dlsym(RTLD_NEXT, "recvmsg");
    const char *name = getenv("EARWITNESS_STEPPED_CLOCK");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *at = mmap(NULL, 16, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (at != MAP_FAILED) step = at;
}

static int64_t ns_of(struct timespec t) { return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec; }

/* What the wall clock is ahead of the real one at an instant of the real one. */
static int64_t ahead(struct timespec real) {
    if (!step || !step[0]) return 0;
    struct timespec mono, now;
    real_clock_gettime(CLOCK_MONOTONIC, &mono);
    real_clock_gettime(CLOCK_REALTIME, &now);
    return ns_of(real) - ns_of(now) + ns_of(mono) >= step[0] ? step[1] : 0;
}

static void shift(struct timespec *t) {
    int64_t ns = ns_of(*t) + ahead(*t);
    t->tv_sec = ns / 1000000000;
    t->tv_nsec = ns % 1000000000;
}

int clock_gettime(clockid_t clock, struct timespec *t) {
    if (!real_clock_gettime) load();
    int result = real_clock_gettime(clock, t);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) shift(t);
    return result;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t) *t = now.tv_sec;
    return now.tv_sec;
}

ssize_t recvmsg(int socket, struct msghdr *message, int flags) {
    if (!real_recvmsg) load();
    ssize_t result = real_recvmsg(socket, message, flags);
    if (result >= 0 && step && step[0])
        for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part))
            if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_TIMESTAMPNS) {
                struct timespec stamp;
                memcpy(&stamp, CMSG_DATA(part), sizeof stamp);
                shift(&stamp);
                memcpy(CMSG_DATA(part), &stamp, sizeof stamp);
            }
    return result;
}
