// Depthwise convolution along token orders, and the selective scan along token orders.
//
// Both take a window's tokens in token order (row by row) and walk them in each order by an index
// table: nothing is gathered or scattered in memory. A kernel holds LANES channels of one window
// in the first-level cache: a pass in token order reads memory in stride, and only then do the
// permuted walks run over the cached copy. (Reading memory in column order costs three times more.)
//
// Included once per instruction set; see lanes.h.
#include "kernels.h"
#include "lanes.h"

namespace {

int64_t min_count(int64_t a, int64_t b) { return a < b ? a : b; }

// ---- depthwise convolution, kernel 3, zero padding, then SiLU ----

int64_t conv_scratch(const ConvCall& c) { return 3 * c.length * LANES; }

void load_tokens(const float* from, int64_t length, int64_t stride, int64_t count, vec* to) {
    for (int64_t t = 0; t < length; ++t) to[t] = load(from + t * stride, count);
}

void conv(const ConvCall& c, int64_t begin, int64_t end, float* scratch) {
    const int64_t l = c.length, d = c.channels;
    vec *x = (vec*)scratch, *sum = x + l;
    for (int64_t w = begin; w < end; ++w)
        for (int64_t first = 0; first < d; first += LANES) {
            const int64_t count = min_count(LANES, d - first);
            load_tokens(c.x + w * l * d + first, l, d, count, x);
            for (int64_t k = 0; k < c.orders; ++k) {
                const float* taps = c.weight + k * 3 * c.padded + first;
                const vec before = load(taps), here = load(taps + c.padded);
                const vec after = load(taps + 2 * c.padded);
                const int32_t* order = c.order + k * l;
                float* out = c.out + ((w * c.orders + k) * l) * d + first;
                vec last = {}, now = x[order[0]];
                for (int64_t s = 0; s < l; ++s) {
                    const vec next = s + 1 < l ? x[order[s + 1]] : vec{};
                    const vec pre = before * last + here * now + after * next;
                    const vec y = pre * logistic(pre);
                    if (c.summed)
                        sum[order[s]] = k ? sum[order[s]] + y : y;
                    else
                        store(out + order[s] * d, y, count);
                    last = now;
                    now = next;
                }
            }
            if (c.summed)
                for (int64_t t = 0; t < l; ++t)
                    store(c.out + (w * l + t) * d + first, sum[t], count);
        }
}

// The gradient along one order. x, grad and dx are cached tokens; adds to dx and to taps_grad.
void conv_order_backward(const ConvCall& c, const int32_t* order, const float* taps,
                         const vec* x, const vec* grad, vec* dx, float* taps_grad) {
    const int64_t l = c.length, p = c.padded;
    const vec before = load(taps), here = load(taps + p), after = load(taps + 2 * p);
    vec dbefore = {}, dhere = {}, dafter = {};
    vec last = {}, now = x[order[0]];
    vec dpre_last = {}, dpre_now = {};  // of the two steps before this one
    for (int64_t s = 0; s < l; ++s) {
        const vec next = s + 1 < l ? x[order[s + 1]] : vec{};
        const vec pre = before * last + here * now + after * next;
        const vec slope = logistic(pre);
        const vec dpre = grad[order[s]] * slope * (1.0f + pre * (1.0f - slope));
        dbefore += dpre * last;
        dhere += dpre * now;
        dafter += dpre * next;
        if (s) dx[order[s - 1]] += after * dpre_last + here * dpre_now + before * dpre;
        dpre_last = dpre_now;
        dpre_now = dpre;
        last = now;
        now = next;
    }
    dx[order[l - 1]] += after * dpre_last + here * dpre_now;
    store(taps_grad, load(taps_grad) + dbefore);
    store(taps_grad + p, load(taps_grad + p) + dhere);
    store(taps_grad + 2 * p, load(taps_grad + 2 * p) + dafter);
}

void conv_backward(const ConvCall& c, int64_t begin, int64_t end, float* scratch, float* partial) {
    const int64_t l = c.length, d = c.channels, p = c.padded;
    vec *x = (vec*)scratch, *grad = x + l, *dx = grad + l;
    std::memset(partial, 0, sizeof(float) * c.orders * 3 * p);
    for (int64_t w = begin; w < end; ++w)
        for (int64_t first = 0; first < d; first += LANES) {
            const int64_t count = min_count(LANES, d - first);
            load_tokens(c.x + w * l * d + first, l, d, count, x);
            if (c.summed) load_tokens(c.grad + w * l * d + first, l, d, count, grad);
            for (int64_t t = 0; t < l; ++t) dx[t] = vec{};
            for (int64_t k = 0; k < c.orders; ++k) {
                if (!c.summed)
                    load_tokens(c.grad + (w * c.orders + k) * l * d + first, l, d, count, grad);
                conv_order_backward(c, c.order + k * l, c.weight + k * 3 * p + first, x, grad, dx,
                                    partial + k * 3 * p + first);
            }
            for (int64_t t = 0; t < l; ++t) store(c.dx + (w * l + t) * d + first, dx[t], count);
        }
}

// ---- selective scan ----

// What the walks along one order of one window and LANES channels share.
struct Walk {
    int64_t length, states;
    const int32_t* order;
    const float *B, *C;      // (l, n) of this window and order
    const float* decay;      // row n at decay + n * padded
    int64_t padded;
    const vec *delta, *input;  // (l): softplus(dt + bias), and delta * u
};

// The states [from, from + N) along one order; adds <C, h> to y.
template <int N>
void walk_states(const Walk& k, int64_t from, vec* y) {
    vec decay[N], h[N];
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
        decay[i] = load(k.decay + (from + i) * k.padded);
        h[i] = vec{};
    }
    for (int64_t s = 0; s < k.length; ++s) {
        const int64_t t = k.order[s];
        const float *B = k.B + t * k.states + from, *C = k.C + t * k.states + from;
        const vec delta = k.delta[t], input = k.input[t];
        vec sum = y[t];
#pragma GCC unroll 8
        for (int i = 0; i < N; ++i) {
            h[i] = exp2(delta * decay[i]) * h[i] + input * B[i];
            sum += h[i] * C[i];
        }
        y[t] = sum;
    }
}

// What the backward walk adds to, beside the walk's own values.
struct WalkGrad {
    const vec* grad;          // (l): of y
    vec *ddelta, *dinput;     // (l)
    vec *dB, *dC;             // (l, n): to be summed over lanes in the end
    vec *history, *factor;    // (l, 8): h after each step and exp(delta A) of each step
    float* ddecay;            // row n at ddecay + n * padded: gradient of A itself
};

template <int N>
void walk_states_backward(const Walk& k, int64_t from, const WalkGrad& g) {
    vec decay[N], h[N];
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
        decay[i] = load(k.decay + (from + i) * k.padded);
        h[i] = vec{};
    }
    for (int64_t s = 0; s < k.length; ++s) {
        const int64_t t = k.order[s];
        const float* B = k.B + t * k.states + from;
        const vec delta = k.delta[t], input = k.input[t];
        vec *history = g.history + s * N, *factor = g.factor + s * N;
#pragma GCC unroll 8
        for (int i = 0; i < N; ++i) {
            const vec f = exp2(delta * decay[i]);
            h[i] = f * h[i] + input * B[i];
            factor[i] = f;
            history[i] = h[i];
        }
    }
    const float ln2 = 0.693147181f;  // decay carries log2(e)
    vec dh[N], ddecay[N];
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) dh[i] = ddecay[i] = vec{};
    for (int64_t s = k.length; s-- > 0;) {
        const int64_t t = k.order[s], at = t * k.states + from;
        const float *B = k.B + at, *C = k.C + at;
        const vec delta = k.delta[t], input = k.input[t], grad = g.grad[t];
        vec *dB = g.dB + at, *dC = g.dC + at;
        const vec *history = g.history + s * N, *factor = g.factor + s * N;
        vec dinput = g.dinput[t], exponent = {};
#pragma GCC unroll 8
        for (int i = 0; i < N; ++i) {
            dC[i] += grad * history[i];
            dh[i] += grad * C[i];
            dB[i] += dh[i] * input;
            dinput += dh[i] * B[i];
            dh[i] *= factor[i];
            if (s) {
                const vec through = dh[i] * history[i - N];  // gradient of the exponent delta * A
                exponent += through * decay[i];
                ddecay[i] += through * delta;
            }
        }
        g.dinput[t] = dinput;
        g.ddelta[t] += exponent * ln2;
    }
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
        float* row = g.ddecay + (from + i) * k.padded;
        store(row, load(row) + ddecay[i]);
    }
}

// Eight states at a time fill the registers; what is left goes in fours, twos and ones.
void walk(const Walk& k, vec* y) {
    int64_t from = 0;
    for (; from + 8 <= k.states; from += 8) walk_states<8>(k, from, y);
    if (k.states & 4) walk_states<4>(k, from, y), from += 4;
    if (k.states & 2) walk_states<2>(k, from, y), from += 2;
    if (k.states & 1) walk_states<1>(k, from, y);
}

void walk_backward(const Walk& k, const WalkGrad& g) {
    int64_t from = 0;
    for (; from + 8 <= k.states; from += 8) walk_states_backward<8>(k, from, g);
    if (k.states & 4) walk_states_backward<4>(k, from, g), from += 4;
    if (k.states & 2) walk_states_backward<2>(k, from, g), from += 2;
    if (k.states & 1) walk_states_backward<1>(k, from, g);
}

int64_t scan_scratch(const ScanCall& c) {
    const int64_t tokens = 7, histories = 2 * 8, outputs = 2 * c.states;
    return (tokens + histories + outputs) * c.length * LANES;
}

void scan(const ScanCall& c, int64_t begin, int64_t end, float* scratch) {
    const int64_t l = c.length, d = c.channels, n = c.states;
    vec *delta = (vec*)scratch, *input = delta + l, *y = input + l;
    for (int64_t w = begin; w < end; ++w)
        for (int64_t first = 0; first < d; first += LANES) {
            const int64_t count = min_count(LANES, d - first);
            for (int64_t k = 0; k < c.orders; ++k) {
                const int64_t row = w * c.orders + k, at = row * l * d + first;
                const vec skip = load(c.skip + k * c.padded + first);
                const vec bias = load(c.bias + k * c.padded + first);
                // The strided rows hide from the processor's own prefetching: ask for those of
                // the next channels, or of the next window.
                const int64_t next = first + LANES < d ? LANES : c.orders * l * d - first;
                for (int64_t t = 0; t < l; ++t) {
                    __builtin_prefetch(c.u + at + next + t * d);
                    __builtin_prefetch(c.dt + at + next + t * d);
                    const vec u = load(c.u + at + t * d, count);
                    delta[t] = softplus(load(c.dt + at + t * d, count) + bias, nullptr);
                    input[t] = delta[t] * u;
                    y[t] = k ? y[t] + skip * u : skip * u;
                }
                walk({l, n, c.order + k * l, c.B + row * l * n, c.C + row * l * n,
                      c.decay + k * n * c.padded + first, c.padded, delta, input}, y);
            }
            for (int64_t t = 0; t < l; ++t) store(c.y + (w * l + t) * d + first, y[t], count);
        }
}

// One window, one order: all channels in turn, because dB and dC are sums over channels.
void scan_order_backward(const ScanCall& c, int64_t w, int64_t k, vec* scratch, float* partial) {
    const int64_t l = c.length, d = c.channels, n = c.states, row = w * c.orders + k;
    vec *delta = scratch, *input = delta + l, *u = input + l, *slope = u + l, *grad = slope + l;
    vec *ddelta = grad + l, *dinput = ddelta + l, *history = dinput + l, *factor = history + 8 * l;
    vec *dB = factor + 8 * l, *dC = dB + n * l;
    std::memset((void*)dB, 0, sizeof(vec) * 2 * n * l);
    for (int64_t first = 0; first < d; first += LANES) {
        const int64_t count = min_count(LANES, d - first), at = row * l * d + first;
        const vec skip = load(c.skip + k * c.padded + first);
        const vec bias = load(c.bias + k * c.padded + first);
        for (int64_t t = 0; t < l; ++t) {
            u[t] = load(c.u + at + t * d, count);
            delta[t] = softplus(load(c.dt + at + t * d, count) + bias, &slope[t]);
            input[t] = delta[t] * u[t];
            grad[t] = load(c.grad + (w * l + t) * d + first, count);
            ddelta[t] = dinput[t] = vec{};
        }
        float* sums = partial + first;
        walk_backward({l, n, c.order + k * l, c.B + row * l * n, c.C + row * l * n,
                       c.decay + k * n * c.padded + first, c.padded, delta, input},
                      {grad, ddelta, dinput, dB, dC, history, factor, sums});
        vec dskip = {}, dbias = {};
        for (int64_t t = 0; t < l; ++t) {
            const vec ddt = (ddelta[t] + dinput[t] * u[t]) * slope[t];
            store(c.du + at + t * d, dinput[t] * delta[t] + skip * grad[t], count);
            store(c.ddt + at + t * d, ddt, count);
            dskip += grad[t] * u[t];
            dbias += ddt;
        }
        sums += n * c.padded;
        store(sums, load(sums) + dskip);
        store(sums + c.padded, load(sums + c.padded) + dbias);
    }
    sum_lanes(dB, l * n, c.dB + row * l * n);
    sum_lanes(dC, l * n, c.dC + row * l * n);
}

void scan_backward(const ScanCall& c, int64_t begin, int64_t end, float* scratch, float* partial) {
    const int64_t per_order = (c.states + 2) * c.padded;
    std::memset(partial, 0, sizeof(float) * c.orders * per_order);
    for (int64_t w = begin; w < end; ++w)
        for (int64_t k = 0; k < c.orders; ++k)
            scan_order_backward(c, w, k, (vec*)scratch, partial + k * per_order);
}

}  // namespace
