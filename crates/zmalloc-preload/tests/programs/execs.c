/* Every way to become another program: one that is not there first, then the real one. */
#include "recount.h"
#include <fcntl.h>
#include <sys/syscall.h>

extern char **environ;

int main(int argc, char **argv) {
    CHECK(argc == 3);
    const char *how = argv[1], *to = argv[2], *none = "/nowhere/at/all";
    char *arguments[] = {"zero", "1", "2", "3", "4", "5", "6", "7", NULL};
    char *bare[] = {"ONLY=this", NULL};
    int file = open(to, O_RDONLY | O_CLOEXEC), bad = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (int real = 0; real < 2; real++) {
        const char *path = real ? to : none;
        errno = 0;
        int result = 0;
        if (!strcmp(how, "execve"))
            result = execve(path, arguments, bare);
        else if (!strcmp(how, "execv"))
            result = execv(path, arguments);
        else if (!strcmp(how, "execvp"))
            result = execvp(path, arguments);
        else if (!strcmp(how, "execvpe"))
            result = execvpe(path, arguments, bare);
        else if (!strcmp(how, "fexecve"))
            result = fexecve(real ? file : bad, arguments, bare);
        else if (!strcmp(how, "execveat"))
            result = execveat(AT_FDCWD, path, arguments, bare, 0);
        else if (!strcmp(how, "execl"))
            result = execl(path, "zero", "1", "2", "3", "4", "5", "6", "7", (char *)NULL);
        else if (!strcmp(how, "execlp"))
            result = execlp(path, "zero", "1", "2", "3", "4", "5", "6", "7", (char *)NULL);
        else if (!strcmp(how, "execle"))
            result = execle(path, "zero", "1", "2", "3", "4", "5", "6", "7", (char *)NULL, bare);
        else if (!strcmp(how, "raw"))
            result = syscall(SYS_execve, path, arguments, bare);
        else if (!strcmp(how, "killed"))
            result = real ? kill(getpid(), SIGKILL) : execv(path, arguments);
        CHECK(result == -1 && errno && !real);
    }
}
