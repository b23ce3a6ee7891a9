#include "recount.h"

static void spend(int n) {
    for (int i = 0; i < n; i++) {
        got(malloc(100 + i));
        give(got(malloc(3000)));
    }
}

static void *fork_within(void *unused) {
    spend(10);
    pid_t child = fork();
    CHECK(child >= 0);
    spend(child ? 20 : 30);
    if (!child) {
        report("");
        _exit(0);
    }
    waitpid(child, NULL, 0);
    return unused;
}

int main(int argc, char **argv) {
    CHECK(argc > 1);
    spend(5);
    if (!strcmp(argv[1], "both")) {
        pid_t child = fork();
        CHECK(child >= 0);
        spend(child ? 7 : 11);
        if (child)
            waitpid(child, NULL, 0);
        else {
            pid_t grandchild = fork();
            spend(grandchild ? 1 : 2);
            if (grandchild)
                waitpid(grandchild, NULL, 0);
        }
    } else if (!strcmp(argv[1], "thread")) {
        pthread_t thread;
        pthread_create(&thread, NULL, fork_within, NULL);
        pthread_join(thread, NULL);
        /* The thread's stack and descriptor stay with glibc. */
        spend(3);
    } else if (!strcmp(argv[1], "_Fork")) {
        pid_t child = _Fork();
        CHECK(child >= 0);
        spend(child ? 7 : 11);
        if (child)
            waitpid(child, NULL, 0);
    } else if (!strcmp(argv[1], "many")) {
        for (int i = 0; i < 50; i++) {
            pid_t child = fork();
            CHECK(child >= 0);
            spend(1);
            if (!child) {
                spend(i);
                report("");
                _exit(0);
            }
        }
        while (wait(NULL) > 0)
            ;
    } else if (!strcmp(argv[1], "vfork")) {
        pid_t child = vfork();
        if (!child) {
            execl(argv[0], argv[0], "plain", (char *)NULL);
            _exit(1);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
        child = vfork();
        if (!child) {
            spend(4); /* in its parent's memory */
            _exit(0);
        }
        waitpid(child, NULL, 0);
    } else if (!strcmp(argv[1], "exec")) {
        report("");
        execl(argv[0], argv[0], "plain", (char *)NULL);
        _exit(1);
    } else if (!strcmp(argv[1], "system")) {
        CHECK(system("exit 0") == 0);
        FILE *pipe = popen("echo through a pipe", "r");
        char line[64];
        CHECK(fgets(line, sizeof line, pipe) && !strcmp(line, "through a pipe\n"));
        pclose(pipe);
        return 0;
    }
    report("");
    return 0;
}
