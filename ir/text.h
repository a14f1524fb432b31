/* text.h - what the printer and the parser of the text form share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_IR_TEXT_H
#define SARD_IR_TEXT_H

#include <stdbool.h>

/* May stand in a name that is not quoted. */
bool text_name_char(char ch);

#endif
