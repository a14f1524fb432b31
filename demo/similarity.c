/* similarity.c - prints the cosine similarities of embeddings as a table: similarity EMBEDDINGS.npy SENTENCES.txt
 *
 * The .npy file holds float32 in row-major order, one row per line of the text file, as `sard run --output
 * NAME=FILE.npy` writes it. Columns are as wide as the terminal shows the text (Chinese characters take two). Colour on
 * a terminal. SPDX-License-Identifier: Apache-2.0 */
#define _XOPEN_SOURCE 700
#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

enum { MAX_ROWS = 64, MAX_LINE = 512 };

static void die(const char *path, const char *why) {
  fprintf(stderr, "error: %s: %s\n", path, why);
  exit(3);
}

/* A float32 matrix from an .npy file of format version 1. */
static float *read_npy(const char *path, size_t *rows, size_t *cols) {
  unsigned char head[10];
  char dict[65536] = "";
  FILE *f = fopen(path, "rb");
  if (!f)
    die(path, "cannot be opened");
  if (fread(head, 1, sizeof head, f) != sizeof head || memcmp(head, "\x93NUMPY\x01", 7))
    die(path, "is no .npy file of version 1");
  size_t len = head[8] | (size_t)head[9] << 8;
  if (fread(dict, 1, len, f) != len)
    die(path, "is cut short");
  const char *shape = strstr(dict, "'shape': (");
  if (!strstr(dict, "'<f4'") || !strstr(dict, "'fortran_order': False") || !shape ||
      sscanf(shape, "'shape': (%zu, %zu)", rows, cols) != 2)
    die(path, "is no matrix of float32");
  if (*rows < 1 || *rows > MAX_ROWS || *cols < 1 || *cols > 1 << 20)
    die(path, "has an unexpected shape");
  float *m = calloc(*rows * *cols, sizeof *m);
  if (!m || fread(m, sizeof *m, *rows * *cols, f) != *rows * *cols)
    die(path, "is cut short");
  fclose(f);
  return m;
}

static size_t read_lines(const char *path, char line[MAX_ROWS][MAX_LINE]) {
  FILE *f = fopen(path, "r");
  size_t n = 0;
  if (!f)
    die(path, "cannot be opened");
  while (n < MAX_ROWS && fgets(line[n], MAX_LINE, f))
    line[n][strcspn(line[n], "\n")] = 0, n++;
  fclose(f);
  return n;
}

/* Columns that s takes on the terminal. */
static int width(const char *s) {
  int w = 0;
  wchar_t ch;
  mbstate_t state = {0};
  for (size_t n; (n = mbrtowc(&ch, s, strlen(s), &state)) && n < (size_t)-2; s += n)
    w += wcwidth(ch) > 0 ? wcwidth(ch) : 0;
  return w;
}

static double cosine(const float *a, const float *b, size_t n) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < n; i++)
    ab += (double)a[i] * b[i], aa += (double)a[i] * a[i], bb += (double)b[i] * b[i];
  return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

/* A cell: greener with the similarity; the diagonal is dim. */
static void cell(double v, int diagonal, int colour) {
  static const int shade[] = {236, 236, 22, 22, 28, 34, 40};
  if (!colour)
    printf(diagonal ? "    - " : "%6.2f", v);
  else if (diagonal)
    printf("\033[2m    - \033[0m");
  else {
    int step = (int)(v * 8);
    step = step < 0 ? 0 : step > 6 ? 6 : step;
    printf("\033[48;5;%dm\033[38;5;%dm%6.2f\033[0m", shade[step], step > 4 ? 16 : 231, v);
  }
}

int main(int argc, char **argv) {
  static char line[MAX_ROWS][MAX_LINE];
  size_t rows, cols;
  int widest = 0, colour = isatty(1) && !(getenv("NO_COLOR") && *getenv("NO_COLOR"));
  if (argc != 3) {
    fprintf(stderr, "usage: similarity EMBEDDINGS.npy SENTENCES.txt\n");
    return 2;
  }
  if (!setlocale(LC_CTYPE, "C.UTF-8"))
    setlocale(LC_CTYPE, "");
  float *m = read_npy(argv[1], &rows, &cols);
  if (read_lines(argv[2], line) != rows)
    die(argv[2], "has another number of lines than there are embeddings");
  for (size_t i = 0; i < rows; i++)
    widest = width(line[i]) > widest ? width(line[i]) : widest;
  printf("%*s", widest + 7, "");
  for (size_t k = 0; k < rows; k++)
    printf("%5zu ", k + 1);
  printf("   nearest\n");
  for (size_t i = 0; i < rows; i++) {
    size_t best = i;
    printf("  %2zu  %s%*s ", i + 1, line[i], widest - width(line[i]), "");
    for (size_t k = 0; k < rows; k++) {
      double v = cosine(m + i * cols, m + k * cols, cols);
      cell(v, i == k, colour);
      if (k != i && (best == i || v > cosine(m + i * cols, m + best * cols, cols)))
        best = k;
    }
    if (best != i)
      printf("   %zu at %.2f\n", best + 1, cosine(m + i * cols, m + best * cols, cols));
    else
      printf("\n");
  }
  free(m);
  return 0;
}
