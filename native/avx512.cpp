// The kernels for avx512: 16 lanes.
#include "kernels.h"
#ifdef MICROEXPR_X86_KERNELS
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#define LANES 16
#include "scan.h"
#include "tvl1.h"

const Kernels kAvx512 = {LANES, conv_scratch,  scan_scratch, conv, conv_backward,
                        scan,  scan_backward, tvl1_scratch, tvl1};
#endif
