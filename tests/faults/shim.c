/* Faults below one folder, for LD_PRELOAD: the process dies, or a call fails, at the n-th point.

A point is a call that changes or reads something below the folder, made by the main thread: other threads only
look at records, at times that differ from run to run. Each point has a kind, one letter:

    o  open for writing      w  write           s  fsync           r  rename
    u  unlink, rmdir         m  mkdir           t  truncate        i  open for reading    g  read

in capitals where the call changed nothing, because it failed by itself. What a power cut may take is followed, too:
data of a file after its last fsync, names in a directory after its last fsync. Each point has a digit that says what
it could take: 1 data, 2 names, 3 both. */

#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define MOST 100000

/* The same order as `Fault` in shim.py. */
enum fault { NONE, BEFORE, HALF, AFTER, DROP_DATA, DROP_NAMES, FAIL, FAIL_ON };

static char folder[PATH_MAX], backups[PATH_MAX], kinds[MOST], at_risk[MOST];
static long points, target;
static enum fault fault;
static int error;

/* ---- what a power cut may take ---- */

enum change { CREATED, RENAMED, REMOVED, MADE };
static struct { enum change what; char path[512], old[512], backup[512]; } names[MOST / 50];
static struct { dev_t device; ino_t inode; off_t size; char path[512]; } files[MOST / 50];
static int name_count, file_count;

static void note_name(enum change what, const char *path, const char *old, const char *backup) {
    if (name_count == MOST / 50) return;
    names[name_count].what = what;
    snprintf(names[name_count].path, 512, "%s", path);
    snprintf(names[name_count].old, 512, "%s", old);
    snprintf(names[name_count].backup, 512, "%s", backup);
    name_count++;
}

/* A second name for what is about to lose its own; an empty one where there is nothing. */
static const char *keep(const char *path) {
    static char backup[512];
    static int number;
    snprintf(backup, sizeof backup, "%.480s/%d", backups, number++);
    if (linkat(AT_FDCWD, path, AT_FDCWD, backup, 0) != 0) backup[0] = 0;
    return backup;
}

static void note_file(int descriptor, const char *path, int is_synced) {
    struct stat status;
    int i;
    if (fstat(descriptor, &status) != 0) return;
    for (i = 0; i < file_count; i++)
        if (files[i].device == status.st_dev && files[i].inode == status.st_ino) break;
    if (i == MOST / 50) return;
    if (i == file_count) file_count++, is_synced = 1;
    files[i].device = status.st_dev;
    files[i].inode = status.st_ino;
    snprintf(files[i].path, 512, "%.511s", path);
    if (is_synced || files[i].size > status.st_size) files[i].size = status.st_size;
}

static void forget_names(const char *directory) {
    size_t length = strlen(directory);
    int kept = 0;
    for (int i = 0; i < name_count; i++) {
        const char *path = names[i].path;
        int is_in = strncmp(path, directory, length) == 0 && path[length] == '/' && !strchr(path + length + 1, '/');
        if (!is_in) names[kept++] = names[i];
    }
    name_count = kept;
}

static int remove_one(const char *path, const struct stat *s, int t, struct FTW *f) {
    (void)s, (void)t, (void)f;
    return remove(path);
}

static void drop_names(void) {
    for (int i = name_count - 1; i >= 0; i--) {
        const char *path = names[i].path;
        switch (names[i].what) {
            case CREATED: REAL(unlink)(path); break;
            case RENAMED:
                REAL(rename)(path, names[i].old);
                if (names[i].backup[0]) link(names[i].backup, path);
                break;
            case REMOVED: link(names[i].backup, path); break;
            case MADE: nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); break;
        }
    }
}

/* Cut files down to what is synced; says how many are longer, and only that where told to keep them. */
static int drop_data(int keep_them) {
    struct stat status;
    int count = 0;
    for (int i = 0; i < file_count; i++)
        if (stat(files[i].path, &status) == 0 && status.st_ino == files[i].inode && status.st_size > files[i].size) {
            count++;
            if (!keep_them) REAL(truncate)(files[i].path, files[i].size);
        }
    return count;
}

/* ---- the points ---- */

void faults_arm(const char *where, const char *backups_go_to, long point, int what, int error_number) {
    snprintf(folder, sizeof folder, "%s", where);
    snprintf(backups, sizeof backups, "%s", backups_go_to);
    target = point, fault = what, error = error_number;
}

const char *faults_kinds(void) { folder[0] = 0; return kinds; }
const char *faults_at_risk(void) { return at_risk; }

static void die(void) {
    fault = NONE;
    kill(getpid(), SIGKILL);
}

/* The absolute path of what a call names; 0 where it does not lie below the folder. */
static int is_below(int at, const char *name, char *path) {
    char start[PATH_MAX] = "";
    char link[64];
    ssize_t length;
    if (!folder[0] || syscall(SYS_gettid) != getpid()) return 0;
    if (name == NULL || (name[0] != '/' && at != AT_FDCWD)) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        length = readlink(link, start, sizeof start - 1);
        if (length < 0) return 0;
        start[length] = 0;
    } else if (name[0] != '/' && getcwd(start, sizeof start) == NULL) return 0;
    if (name == NULL) snprintf(path, PATH_MAX, "%s", start);
    else if (name[0] == '/') snprintf(path, PATH_MAX, "%s", name);
    else snprintf(path, PATH_MAX, "%.2000s/%.2000s", start, name);
    return strncmp(path, folder, strlen(folder)) == 0;
}

/* Count a point; 1 where its call is to fail. */
static int fails(char kind) {
    if (points == MOST - 1) abort();
    kinds[points++] = kind;
    if (fault == BEFORE && points == target) die();
    if ((fault == FAIL && points == target) ||
        (fault == FAIL_ON && points >= target && (error != EMFILE || kind == 'o' || kind == 'i') &&
         (error != ENOSPC || strchr("owm", kind)))) {
        errno = error;
        return 1;
    }
    return 0;
}

static void is_done(int failed) {
    int saved = errno;
    if (failed) kinds[points - 1] = toupper(kinds[points - 1]);
    at_risk[points - 1] = '0' + (drop_data(1) > 0) + 2 * (name_count > 0);
    errno = saved;
    if (points != target || fault == NONE || fault > DROP_NAMES) return;
    if (fault == DROP_DATA) drop_data(0);
    if (fault == DROP_NAMES) drop_names();
    die();
}

static int opened(int at, const char *name, int flags, mode_t mode, int (*real)(int, const char *, int, ...)) {
    char path[PATH_MAX];
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
    struct stat status;
    int is_new, descriptor;
    if (!is_below(at, name, path)) return real(at, name, flags, mode);
    if (fails(writes ? 'o' : 'i')) return -1;
    is_new = writes && lstat(path, &status) != 0;
    descriptor = real(at, name, flags, mode);
    if (writes && descriptor >= 0) {
        if (is_new) note_name(CREATED, path, "", "");
        note_file(descriptor, path, 0);
    }
    is_done(descriptor < 0);
    return descriptor;
}

static mode_t mode_of(int flags, va_list arguments) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

#define OPEN(name)                                                \
    int name(const char *path, int flags, ...) {                  \
        va_list arguments;                                        \
        va_start(arguments, flags);                               \
        mode_t mode = mode_of(flags, arguments);                  \
        va_end(arguments);                                        \
        return opened(AT_FDCWD, path, flags, mode, REAL(openat)); \
    }
#define OPENAT(name)                                              \
    int name(int at, const char *path, int flags, ...) {          \
        va_list arguments;                                        \
        va_start(arguments, flags);                               \
        mode_t mode = mode_of(flags, arguments);                  \
        va_end(arguments);                                        \
        return opened(at, path, flags, mode, REAL(openat));       \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int descriptor, const void *data, size_t count) {
    char path[PATH_MAX];
    ssize_t done;
    if (!is_below(descriptor, NULL, path)) return REAL(write)(descriptor, data, count);
    if (fails('w')) {
        /* A disk that fills up takes what still fits. */
        if (error != ENOSPC || points != target || count < 2) return -1;
        return REAL(write)(descriptor, data, count / 2);
    }
    if (fault == HALF && points == target) {
        REAL(write)(descriptor, data, count / 2);
        die();
    }
    done = REAL(write)(descriptor, data, count);
    is_done(done < 0);
    return done;
}

ssize_t read(int descriptor, void *data, size_t count) {
    char path[PATH_MAX];
    ssize_t done;
    if (!is_below(descriptor, NULL, path)) return REAL(read)(descriptor, data, count);
    if (fails('g')) return -1;
    done = REAL(read)(descriptor, data, count);
    is_done(done < 0);
    return done;
}

static int synced(int descriptor, int (*real)(int)) {
    char path[PATH_MAX];
    int result;
    if (!is_below(descriptor, NULL, path)) return real(descriptor);
    if (fails('s')) return -1;
    result = real(descriptor);
    if (result == 0) note_file(descriptor, path, 1), forget_names(path);
    is_done(result != 0);
    return result;
}
int fsync(int descriptor) { return synced(descriptor, REAL(fsync)); }
int fdatasync(int descriptor) { return synced(descriptor, REAL(fdatasync)); }

int renameat(int from, const char *old, int to, const char *new) {
    char path[PATH_MAX], source[PATH_MAX];
    int result;
    if (!is_below(to, new, path) || !is_below(from, old, source)) return REAL(renameat)(from, old, to, new);
    if (fails('r')) return -1;
    const char *backup = keep(path);
    result = REAL(renameat)(from, old, to, new);
    if (result == 0) {
        note_name(RENAMED, path, source, backup);
        for (int i = 0; i < file_count; i++)
            if (strcmp(files[i].path, source) == 0) snprintf(files[i].path, 512, "%.511s", path);
    }
    is_done(result != 0);
    return result;
}
int rename(const char *old, const char *new) { return renameat(AT_FDCWD, old, AT_FDCWD, new); }

int unlinkat(int at, const char *name, int flags) {
    char path[PATH_MAX];
    int result;
    if (!is_below(at, name, path)) return REAL(unlinkat)(at, name, flags);
    if (fails('u')) return -1;
    const char *backup = flags & AT_REMOVEDIR ? "" : keep(path);
    result = REAL(unlinkat)(at, name, flags);
    if (result == 0 && backup[0]) note_name(REMOVED, path, "", backup);
    is_done(result != 0);
    return result;
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdirat(int at, const char *name, mode_t mode) {
    char path[PATH_MAX];
    int result;
    if (!is_below(at, name, path)) return REAL(mkdirat)(at, name, mode);
    if (fails('m')) return -1;
    result = REAL(mkdirat)(at, name, mode);
    if (result == 0) note_name(MADE, path, "", "");
    is_done(result != 0);
    return result;
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

#define TRUNCATE(name, type, at, path_name)                                \
    int name(type what, off_t size) {                                      \
        char path[PATH_MAX];                                               \
        int result;                                                        \
        if (!is_below(at, path_name, path)) return REAL(name)(what, size); \
        if (fails('t')) return -1;                                         \
        result = REAL(name)(what, size);                                   \
        is_done(result != 0);                                              \
        return result;                                                     \
    }
TRUNCATE(truncate, const char *, AT_FDCWD, what)
TRUNCATE(truncate64, const char *, AT_FDCWD, what)
TRUNCATE(ftruncate, int, what, NULL)
TRUNCATE(ftruncate64, int, what, NULL)
