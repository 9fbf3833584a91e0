/* System calls on one folder that fail, or in which the process dies: for LD_PRELOAD.
 *
 * memtx_arm(folder, nth, how) counts from then on the calls below that write, rename, remove or
 * bring to the disk something below `folder`; the nth of them (from 1) goes wrong. nth 0 only
 * counts. After it everything works again, as on a disk that somebody has made room on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { KILL_BEFORE = -1, KILL_AFTER = -2, KILL_HALFWAY = -3 }; /* otherwise an errno */
enum { FULL = 1000 };                                          /* ENOSPC from the nth on */
enum { DESCRIPTORS = 4096 };

static char folder[4096];
static long nth, calls;
static int how;
static char ours[DESCRIPTORS];
static char names[1 << 16];

void memtx_arm(const char* below, long number, int what) {
  strncpy(folder, below, sizeof folder - 1);
  nth = number, how = what, calls = 0;
  memset(ours, 0, sizeof ours);
  names[0] = 0;
}

long memtx_calls(void) { return calls; }

/* The names of the calls so far, each followed by a blank. */
const char* memtx_names(void) { return names; }

static int below(const char* path) {
  return folder[0] && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int known(int fd) { return fd >= 0 && fd < DESCRIPTORS && ours[fd]; }

static void die(void) { kill(getpid(), SIGKILL); }

/* Whether a call wants room on the disk. */
static int grows(const char* name) {
  return strstr(name, "write") || strstr(name, "mkdir") || strstr(name, "sendfile") ||
         strstr(name, "copy");
}

/* Whether this call goes wrong. */
static int strikes(const char* name) {
  calls++;
  if (strlen(names) + strlen(name) + 2 < sizeof names) strcat(strcat(names, name), " ");
  if (how == FULL) return nth && calls >= nth && grows(name);
  if (calls != nth) return 0;
  if (how == KILL_BEFORE) die();
  return 1;
}

/* The errno of a call that fails. */
static int error(void) { return how == FULL ? ENOSPC : how; }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* A call that concerns the folder if `concerns`: it fails, or the process dies after it. */
#define GUARDED(concerns, name, call)        \
  int struck = (concerns) && strikes(#name); \
  if (struck && how > 0) {                   \
    errno = error();                         \
    return -1;                               \
  }                                          \
  __typeof__(call) result = call;            \
  if (struck) die();                         \
  return result;

static int remembered(int fd, int is_ours) {
  if (fd >= 0 && fd < DESCRIPTORS) ours[fd] = (char)is_ours;
  return fd;
}

static int opened(const char* path, int flags, int mode, const char* name, int directory) {
  int (*real)(int, const char*, int, ...) =
      (int (*)(int, const char*, int, ...))dlsym(RTLD_NEXT, "openat64");
  int is_ours = below(path);
  int struck = is_ours && (flags & O_ACCMODE) != O_RDONLY && strikes(name);
  if (struck && how > 0) {
    errno = error();
    return -1;
  }
  int fd = remembered(real(directory, path, flags, mode), is_ours);
  if (struck) die();
  return fd;
}

#define MODE                           \
  int mode = 0;                        \
  if (flags & (O_CREAT | O_TMPFILE)) { \
    va_list rest;                      \
    va_start(rest, flags);             \
    mode = va_arg(rest, int);          \
    va_end(rest);                      \
  }

int open(const char* path, int flags, ...) {
  MODE return opened(path, flags, mode, "open", AT_FDCWD);
}
int open64(const char* path, int flags, ...) {
  MODE return opened(path, flags, mode, "open", AT_FDCWD);
}
int openat(int at, const char* path, int flags, ...) {
  MODE return opened(path, flags, mode, "open", at);
}
int openat64(int at, const char* path, int flags, ...) {
  MODE return opened(path, flags, mode, "open", at);
}

ssize_t write(int fd, const void* from, size_t size) {
  ssize_t (*real)(int, const void*, size_t) = REAL(write);
  int struck = known(fd) && strikes("write");
  if (struck && how > 0) {
    errno = error();
    return -1;
  }
  ssize_t result = real(fd, from, struck && how == KILL_HALFWAY ? size / 2 : size);
  if (struck) die();
  return result;
}

ssize_t writev(int fd, const struct iovec* from,
               int count){GUARDED(known(fd), writev, REAL(writev)(fd, from, count))} ssize_t
    pwrite64(int fd, const void* from, size_t size, off64_t at) {
  GUARDED(known(fd), pwrite64, REAL(pwrite64)(fd, from, size, at))
}
int fsync(int fd) { GUARDED(known(fd), fsync, REAL(fsync)(fd)) }
int fdatasync(int fd) { GUARDED(known(fd), fdatasync, REAL(fdatasync)(fd)) }
int ftruncate64(int fd, off64_t size) {
  GUARDED(known(fd), ftruncate64, REAL(ftruncate64)(fd, size))
}
int ftruncate(int fd, off_t size) { GUARDED(known(fd), ftruncate, REAL(ftruncate)(fd, size)) }
int rename(const char* from, const char* to) { GUARDED(below(to), rename, REAL(rename)(from, to)) }
int renameat(int a, const char* from, int b, const char* to) {
  GUARDED(below(to), renameat, REAL(renameat)(a, from, b, to))
}
int unlink(const char* path) { GUARDED(below(path), unlink, REAL(unlink)(path)) }
int mkdir(const char* path, mode_t mode) { GUARDED(below(path), mkdir, REAL(mkdir)(path, mode)) }
int flock(int fd, int operation){GUARDED(known(fd), flock, REAL(flock)(fd, operation))} ssize_t
    sendfile64(int to, int from, off64_t* at, size_t size){
        GUARDED(known(to), sendfile64, REAL(sendfile64)(to, from, at, size))} ssize_t
    copy_file_range(int from, off64_t* a, int to, off64_t* b, size_t size, unsigned flags) {
  GUARDED(known(to), copy_file_range, REAL(copy_file_range)(from, a, to, b, size, flags))
}

int close(int fd) {
  int struck = known(fd) && strikes("close");
  remembered(fd, 0);
  if (struck && how == EINTR) how = EIO; /* Python does not close again after EINTR either */
  int result = REAL(close)(fd);
  if (struck && how < 0) die();
  if (struck) {
    errno = error();
    return -1; /* closed all the same, as Linux does */
  }
  return result;
}
