// One vector of LANES floats, one channel or pixel a lane, and the few functions the kernels need.
//
// Included once per instruction set, by a source file that first defines LANES and the target.
// Everything here has internal linkage: were an inline function shared between the object files,
// the linker could hand the AVX-512 copy of it to a processor without AVX-512.
#ifndef MICROEXPR_LANES_H
#define MICROEXPR_LANES_H

#include <cstdint>
#include <cstring>
#if LANES > 4
#include <immintrin.h>
#endif

namespace {

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));

#define INLINE inline __attribute__((always_inline))

INLINE vec load(const float* p) {
    vec v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

INLINE void store(float* p, vec v) { std::memcpy(p, &v, sizeof v); }

// The first `count` lanes; the others are zero.
#if LANES == 16

INLINE vec load(const float* p, int64_t count) {
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
}

INLINE void store(float* p, vec v, int64_t count) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), (__m512)v);
}

#else

INLINE vec load(const float* p, int64_t count) {
    if (count == LANES) return load(p);
    vec v = {};
    for (int64_t i = 0; i < count; ++i) v[i] = p[i];
    return v;
}

INLINE void store(float* p, vec v, int64_t count) {
    if (count == LANES) return store(p, v);
    for (int64_t i = 0; i < count; ++i) p[i] = v[i];
}

#endif

INLINE vec all(float x) { return x - vec{}; }

// A NaN in `a` stays; one in `b` gives `a`.
INLINE vec max(vec a, vec b) { return a < b ? b : a; }
INLINE vec min(vec a, vec b) { return a > b ? b : a; }

INLINE vec sqrt(vec x) {
#if LANES == 16
    return (vec)_mm512_sqrt_ps((__m512)x);
#elif LANES == 8
    return (vec)_mm256_sqrt_ps((__m256)x);
#else
    for (int i = 0; i < LANES; ++i) x[i] = __builtin_sqrtf(x[i]);
    return x;
#endif
}

// 2^f for |f| <= 1/2: minimax of degree 6, relative error 4e-9, exactly 1 at 0.
INLINE vec exp2_fraction(vec f) {
    vec p = all(1.54697319775e-4f);
    p = p * f + 1.34100009661e-3f;
    p = p * f + 9.61803078251e-3f;
    p = p * f + 5.5502973142e-2f;
    p = p * f + 0.240226510841f;
    p = p * f + 0.693147225395f;
    return p * f + 1.0f;
}

// Rounding to whole numbers, and p * 2^whole. `rounded` hands a whole number on in the form that
// suits the instruction set: as itself, or in the low bits of a large float.
#if LANES == 16

INLINE vec rounded(vec x) {
    return (vec)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
INLINE vec whole(vec r) { return r; }
INLINE vec scale(vec p, vec r) { return (vec)_mm512_scalef_ps((__m512)p, (__m512)r); }
INLINE vec exp2_range(vec x) { return x; }  // scalef saturates to 0 and infinity by itself

#else

const float kRounder = 12582912.0f;  // 1.5 * 2^23
INLINE vec rounded(vec x) { return x + kRounder; }
INLINE vec whole(vec r) { return r - kRounder; }
INLINE vec scale(vec p, vec r) { return (vec)((ivec)p + ((ivec)r << 23)); }
// Keeps the exponent field from wrapping round: 2^-126 stands for everything smaller.
INLINE vec exp2_range(vec x) { return min(max(x, all(-126.0f)), all(126.0f)); }

#endif

INLINE vec exp2(vec x) {
    x = exp2_range(x);
    vec r = rounded(x);
    return scale(exp2_fraction(x - whole(r)), r);
}

// e^x to an ulp or two: the product x * log2(e) alone would lose |x| / 2 ulps.
INLINE vec exp(vec x) {
    const float log2e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    x = min(max(x, all(-87.0f)), all(87.0f));
    vec r = rounded(x * log2e), n = whole(r);
    return scale(exp2_fraction(((x - n * ln2_high) - n * ln2_low) * log2e), r);
}

INLINE vec absolute(vec x) { return (vec)((ivec)x & 0x7fffffff); }

// softplus(x) = log(1 + e^x) and its derivative, the logistic function.
// With e = e^-|x|: log1p(e) = 2 atanh(s), s = e / (2 + e) <= 1/3, by the odd series in s.
INLINE vec softplus(vec x, vec* slope) {
    vec e = exp(-absolute(x));
    vec s = e / (e + 2.0f), z = s * s;
    vec p = all(0.122065339079f);
    p = p * z + 0.106966253486f;
    p = p * z + 0.143103610532f;
    p = p * z + 0.199993454514f;
    p = p * z + 0.333333396537f;
    p = p * z + 1.0f;
    if (slope) *slope = (x < 0.0f ? e : all(1.0f)) / (e + 1.0f);
    return max(x, vec{}) + 2.0f * s * p;
}

INLINE vec logistic(vec x) { return 1.0f / (exp(-x) + 1.0f); }

#if LANES == 16
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#elif LANES == 8
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#else
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
#endif

#ifdef __clang__
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (ivec{__VA_ARGS__}))
#endif

// Sums of neighbours, those of a in the lower half of the result, those of b in the upper.
INLINE vec add_neighbours(vec a, vec b) { return PICK(a, b, EVEN) + PICK(a, b, ODD); }

INLINE vec first_lanes(vec v, int64_t count) {
    float x[LANES];
    store(x, v);
    return load(x, count);
}

INLINE float sum_lanes(vec v) {
    float sum = 0;
    for (int i = 0; i < LANES; ++i) sum += v[i];
    return sum;
}

// out[i] = the sum of the lanes of v[i], for `count` vectors. Overwrites v.
INLINE void sum_lanes(vec* v, int64_t count, float* out) {
    for (int64_t first = 0; first < count; first += LANES) {
        int64_t left = count - first < LANES ? count - first : LANES;
        vec part[LANES];
        for (int64_t i = 0; i < LANES; ++i) part[i] = i < left ? v[first + i] : vec{};
#pragma GCC unroll 4
        for (int width = LANES / 2; width; width /= 2)
#pragma GCC unroll 8
            for (int i = 0; i < width; ++i) part[i] = add_neighbours(part[2 * i], part[2 * i + 1]);
        store(out + first, part[0], left);
    }
}

}  // namespace

#endif
