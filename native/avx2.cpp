// The kernels for avx2: 8 lanes.
#include "kernels.h"
#ifdef MICROEXPR_X86_KERNELS
#pragma GCC target("avx2,fma")
#define LANES 8
#include "scan.h"
#include "tvl1.h"

const Kernels kAvx2 = {LANES, conv_scratch,  scan_scratch, conv, conv_backward,
                        scan,  scan_backward, tvl1_scratch, tvl1};
#endif
