/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For findings about libNVVM, which makes PTX of LLVM's IR in a program's own process:
 *   nvvm FOLDER < IR
 * prints what nvvmVerifyProgram and nvvmCompileProgram say, by name, on one line, and writes
 * FOLDER/ptx and FOLDER/log, what it gives after the compilation.
 */
#include <stdio.h>
#include <stdlib.h>

typedef void *nvvm_program;
int nvvmCreateProgram(nvvm_program *);
int nvvmAddModuleToProgram(nvvm_program, const char *ir, size_t bytes, const char *name);
int nvvmVerifyProgram(nvvm_program, int options, const char **);
int nvvmCompileProgram(nvvm_program, int options, const char **);
int nvvmGetCompiledResultSize(nvvm_program, size_t *);
int nvvmGetCompiledResult(nvvm_program, char *);
int nvvmGetProgramLogSize(nvvm_program, size_t *);
int nvvmGetProgramLog(nvvm_program, char *);
const char *nvvmGetErrorString(int);

static void write_result(const char *folder, const char *name, nvvm_program program,
                         int (*size)(nvvm_program, size_t *), int (*get)(nvvm_program, char *))
{
    char path[4096], *text;
    size_t bytes;
    FILE *file;

    if (size(program, &bytes))
        exit(2);
    text = calloc(1, bytes + 1);
    if (!text || get(program, text))
        exit(2);
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file))
        exit(2);
}

int main(int argc, char **argv)
{
    static char ir[1 << 16];
    size_t bytes = fread(ir, 1, sizeof(ir), stdin);
    nvvm_program program;

    if (argc != 2 || nvvmCreateProgram(&program) ||
        nvvmAddModuleToProgram(program, ir, bytes, "in.ll"))
        exit(2);
    printf("%s ", nvvmGetErrorString(nvvmVerifyProgram(program, 0, NULL)));
    printf("%s\n", nvvmGetErrorString(nvvmCompileProgram(program, 0, NULL)));
    write_result(argv[1], "ptx", program, nvvmGetCompiledResultSize, nvvmGetCompiledResult);
    write_result(argv[1], "log", program, nvvmGetProgramLogSize, nvvmGetProgramLog);
    return 0;
}
