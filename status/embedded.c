/* page.css and page.js as C: the Makefile makes lists of their bytes. */
#include "status/embedded.h"

static const unsigned char style[] = {
#include "build/status/page.css.inc"
};

static const unsigned char script[] = {
#include "build/status/page.js.inc"
};

const struct embedded embedded_style = {(const char *)style, sizeof style};
const struct embedded embedded_script = {(const char *)script, sizeof script};
