// Runs a command and meddles with its n-th system call on a file below a folder: fails it with an errno, or kills the
// command right before it. Counts these calls where n is 0.
//
//   inject FOLDER ERRNO|kill N -- COMMAND...     the exit status is the command's (128 + signal where one ended it);
//                                                99: wrong usage, 98: the kernel allows no seccomp notification
//   The number of calls is written to file descriptor 3, if that is open.
//
// A seccomp filter hands the calls over to this process (seccomp_unotify(2)), which looks up their paths and answers.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

// Where a call has its file: an open descriptor, a path from the working folder, a path from a folder's descriptor.
enum where { AT_DESCRIPTOR, AT_PATH, AT_FOLDER };

struct call {
  int number;
  enum where where;
  int argument;
};

static const struct call CALLS[] = {
    {SYS_read, AT_DESCRIPTOR, 0},       {SYS_pread64, AT_DESCRIPTOR, 0},  {SYS_readv, AT_DESCRIPTOR, 0},
    {SYS_write, AT_DESCRIPTOR, 0},      {SYS_pwrite64, AT_DESCRIPTOR, 0}, {SYS_writev, AT_DESCRIPTOR, 0},
    {SYS_fsync, AT_DESCRIPTOR, 0},      {SYS_fdatasync, AT_DESCRIPTOR, 0},
    {SYS_ftruncate, AT_DESCRIPTOR, 0},  {SYS_fallocate, AT_DESCRIPTOR, 0},
    {SYS_flock, AT_DESCRIPTOR, 0},      {SYS_getdents64, AT_DESCRIPTOR, 0},
    {SYS_copy_file_range, AT_DESCRIPTOR, 2},
    {SYS_openat, AT_FOLDER, 0},         {SYS_mkdirat, AT_FOLDER, 0},      {SYS_unlinkat, AT_FOLDER, 0},
    {SYS_statx, AT_FOLDER, 0},          {SYS_linkat, AT_FOLDER, 2},       {SYS_renameat2, AT_FOLDER, 2},
#ifdef SYS_renameat
    {SYS_renameat, AT_FOLDER, 2},
#endif
#ifdef SYS_newfstatat
    {SYS_newfstatat, AT_FOLDER, 0},
#endif
#ifdef SYS_open
    {SYS_open, AT_PATH, 0},             {SYS_mkdir, AT_PATH, 0},          {SYS_unlink, AT_PATH, 0},
    {SYS_rmdir, AT_PATH, 0},            {SYS_stat, AT_PATH, 0},           {SYS_rename, AT_PATH, 1},
#endif
};
#define NUM_CALLS (sizeof CALLS / sizeof *CALLS)

// The child's part: installs the filter, sends its listener, becomes the command.
static void become(int socket, char **command) {
  struct sock_filter filter[2 * NUM_CALLS + 2];
  unsigned short length = 0;
  filter[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (size_t i = 0; i < NUM_CALLS; i++) {
    filter[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CALLS[i].number, 0, 1);
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
  }
  filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = {length, filter};
  // Calls from here on wait for an answer, so the listener must travel without one of them: sendmsg is not watched.
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  int listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
  if (listener < 0) _exit(98);
  char byte = 0, control[CMSG_SPACE(sizeof(int))] = {0};
  struct iovec vector = {&byte, 1};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &listener, sizeof listener);
  if (sendmsg(socket, &message, 0) < 0) _exit(98);
  execvp(command[0], command);
  _exit(127);
}

static int receive(int socket) {
  char byte, control[CMSG_SPACE(sizeof(int))];
  struct iovec vector = {&byte, 1};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) <= 0 || !CMSG_FIRSTHDR(&message)) return -1;
  int listener;
  memcpy(&listener, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof listener);
  return listener;
}

static void path_of_descriptor(pid_t process, int descriptor, char *path, size_t size) {
  char link[64];
  if (descriptor == AT_FDCWD)
    snprintf(link, sizeof link, "/proc/%d/cwd", process);
  else
    snprintf(link, sizeof link, "/proc/%d/fd/%d", process, descriptor);
  ssize_t length = readlink(link, path, size - 1);
  path[length < 0 ? 0 : length] = 0;
}

// A path in the memory of the process, page by page: the next page may not be there.
static void path_in_memory(pid_t process, int folder, unsigned long address, char *path, size_t size) {
  char text[PATH_MAX] = "";
  size_t length = 0;
  while (length < sizeof text - 1 && !memchr(text, 0, length)) {
    size_t chunk = 4096 - (address + length) % 4096;
    if (chunk > sizeof text - 1 - length) chunk = sizeof text - 1 - length;
    struct iovec here = {text + length, chunk}, there = {(void *)(address + length), chunk};
    if (process_vm_readv(process, &here, 1, &there, 1, 0) <= 0) break;
    length += chunk;
  }
  char from[PATH_MAX] = "";
  if (text[0] != '/') path_of_descriptor(process, folder, from, sizeof from);
  snprintf(path, size, "%s%s%s", from, from[0] && text[0] ? "/" : "", text);
}

static int is_below(const char *path, const char *folder) {
  return strncmp(path, folder, strlen(folder)) == 0;
}

// Whether the call is on a file below the folder.
static int concerns(const struct seccomp_notif *asked, const char *folder) {
  char path[2 * PATH_MAX];
  const __u64 *arguments = asked->data.args;
  for (size_t i = 0; i < NUM_CALLS; i++) {
    const struct call *call = &CALLS[i];
    if (call->number != asked->data.nr) continue;
    int argument = call->argument;
    if (call->where == AT_DESCRIPTOR)
      path_of_descriptor(asked->pid, (int)arguments[argument], path, sizeof path);
    else if (call->where == AT_PATH)
      path_in_memory(asked->pid, AT_FDCWD, arguments[argument], path, sizeof path);
    else
      path_in_memory(asked->pid, (int)arguments[argument], arguments[argument + 1], path, sizeof path);
    return is_below(path, folder);
  }
  return 0;
}

static int status_of(pid_t child) {
  int status;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// Answers until the command has ended; returns its status.
static int watch(int listener, pid_t child, const char *folder, int error, long nth, long *count) {
  for (;;) {
    struct pollfd ready = {listener, POLLIN, 0};
    poll(&ready, 1, -1);
    if (!(ready.revents & POLLIN)) return status_of(child);
    struct seccomp_notif asked = {0};
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) < 0) continue;
    struct seccomp_notif_resp answer = {.id = asked.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    if (concerns(&asked, folder) && ++*count == nth) {
      if (error == 0) {
        kill(-child, SIGKILL);
        return status_of(child);
      }
      answer.flags = 0;
      answer.error = -error;
    }
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
  }
}

int main(int argc, char **argv) {
  if (argc < 6 || strcmp(argv[4], "--") != 0) return 99;
  int error = strcmp(argv[2], "kill") == 0 ? 0 : atoi(argv[2]), pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) return 98;
  pid_t child = fork();
  if (child == 0) {
    setpgid(0, 0);
    fcntl(3, F_SETFD, FD_CLOEXEC);
    become(pair[1], argv + 5);
  }
  setpgid(child, child);
  close(pair[1]);
  int listener = receive(pair[0]);
  if (listener < 0) return status_of(child);
  long count = 0;
  int status = watch(listener, child, argv[1], error, atol(argv[3]), &count);
  dprintf(3, "%ld\n", count);
  return status;
}
