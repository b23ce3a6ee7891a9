/* Linked statically: says what it was started with. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv, char **environment) {
    char *only = getenv("ONLY");
    int entries = 0;
    while (environment[entries])
        entries++;
    int same = argc == 8 && !strcmp(argv[0], "zero");
    for (int i = 1; i < argc; i++)
        same = same && atoi(argv[i]) == i;
    printf("arguments=%d bare=%d\n", same, only && entries == 1 && !strcmp(only, "this"));
    return 0;
}
