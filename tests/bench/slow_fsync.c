/* Makes each fsync and fdatasync take 2 ms longer, as a disk in a cloud does. Loaded with LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

static const struct timespec longer = {0, 2000000};

static int then_sleep(const char *name, int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    int result = real(fd);
    nanosleep(&longer, 0);
    return result;
}

int fsync(int fd) { return then_sleep("fsync", fd); }
int fdatasync(int fd) { return then_sleep("fdatasync", fd); }
