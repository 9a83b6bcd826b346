// The kernels for any processor: four lanes, as SSE2, NEON and most others have them.
#define LANES 4
#include "scan.h"
#include "tvl1.h"

const Kernels kPortable = {LANES, conv_scratch,  scan_scratch, conv, conv_backward,
                        scan,  scan_backward, tvl1_scratch, tvl1};
