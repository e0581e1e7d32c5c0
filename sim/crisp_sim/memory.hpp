// Memory behind the machine's AXI4 port: regions of bytes that belong to the caller, a latency, a bandwidth, pauses, faults on
// request; and a check of everything that the machine does on the bus.
//
// `drive` sets the inputs of the cycle that begins, `sample` takes what was exchanged in it. Responses come in the order of requests.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <type_traits>
#include <vector>

#include "Vtop.h"
#include "machine_ports.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "payloads are copied as bytes, the first lowest");

namespace crisp {

// Verilator stores up to 64 bits in an integer and more in an array of 32-bit words: the same bytes either way.
template <class Payload>
void put_bytes(Payload& payload, const void* bytes, size_t count) {
    static_assert(std::is_trivially_copyable_v<Payload>);
    std::memcpy(&payload, bytes, count);
}

// xorshift64*: pauses, repeatable on every machine.
class Random {
  public:
    void seed(uint64_t value) { state_ = value * 2 + 1; }
    bool chance(uint32_t threshold) {  // threshold / 2^32
        if (threshold == 0) return false;
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return uint32_t((state_ * 0x2545F4914F6CDD1DULL) >> 32) < threshold;
    }

  private:
    uint64_t state_ = 1;
};

constexpr uint64_t PAGE_BYTES = 4096;
constexpr uint64_t ANY_TRANSACTION = ~uint64_t(0);

enum Response : uint8_t { OKAY = 0, EXOKAY = 1, SLVERR = 2, DECERR = 3, NO_RESPONSE = 4 };

// What the machine must not do. The order is that of machine.py.
enum Rule : uint32_t {
    OUT_OF_RANGE,
    CROSSES_PAGE,
    NOT_ALIGNED,
    BURST_KIND,
    READ_ADDRESS_CHANGED,
    WRITE_ADDRESS_CHANGED,
    WRITE_DATA_CHANGED,
    WRITE_LAST,
    VALID_IN_RESET,
};

struct Violation {
    uint64_t cycle;
    uint64_t address;
    uint64_t rule;
};

struct Region {
    uint64_t base;
    uint64_t size;
    uint8_t* bytes;
    bool readable;
    bool writable;
};

// Answers `response` to the transaction of this number (or any), in those beats that lie in low <= address < high.
struct Fault {
    bool write;
    uint8_t response;
    uint64_t low;
    uint64_t high;
    uint64_t transaction;

    bool meets(bool is_write, uint64_t number, uint64_t address, uint64_t size) const {
        return write == is_write && (transaction == ANY_TRANSACTION || transaction == number) && address < high && low < address + size;
    }
};

struct Options {
    uint64_t latency = 0;  // cycles from request to first response
    double bandwidth = 1;  // beats a cycle, both directions together
    uint64_t outstanding = 16;  // requests of a direction that wait at a time
    uint32_t stall = 0;  // chance that a channel pauses for a cycle, / 2^32
};

struct Statistics {
    uint64_t read_transactions = 0;
    uint64_t read_beats = 0;
    uint64_t write_transactions = 0;
    uint64_t write_beats = 0;
    uint64_t written_bytes = 0;
    uint64_t violations = 0;
};

class Memory {
  public:
    std::vector<Region> regions;
    std::vector<Violation> violations;
    Options options;
    Statistics statistics;
    Random random;

    void reset(Vtop& top) {
        reads_.clear();
        writes_.clear();
        data_.clear();
        responses_.clear();
        read_address_ = write_address_ = Address();
        beat_ = Beat();
        read_offered_ = response_offered_ = false;
        credit_ = 0;
        top.m_axi_arready = top.m_axi_awready = top.m_axi_wready = top.m_axi_rvalid = top.m_axi_bvalid = 0;
    }

    void set_faults(const Fault* faults, size_t count) {
        faults_.assign(faults, faults + count);
        for (Read& read : reads_) read.held = read.held && withheld(false, read.number, read.address, read.beats);
        for (Answer& answer : responses_) answer.held = answer.held && withheld(true, answer.number, answer.address, answer.beats);
        read_number_ = write_number_ = 0;
    }

    // Requests that are not answered in full.
    uint64_t outstanding() const { return reads_.size() + writes_.size() + responses_.size() + !data_.empty(); }

    void drive(Vtop& top, uint64_t cycle) {
        top.m_axi_arready = reads_.size() < options.outstanding && !pause();
        top.m_axi_awready = writes_.size() + responses_.size() < options.outstanding && !pause();

        // Both directions share the memory: where there is a beat for one of them only, they take turns.
        credit_ = std::min(credit_ + options.bandwidth, options.bandwidth > 1 ? 2.0 : 1.0);
        const bool room = data_.size() < MAX_EARLY_BEATS && !pause();
        const bool wants_read = !read_offered_ && !reads_.empty() && reads_.front().due <= cycle && !reads_.front().held && !pause();
        const bool wants_write = room && top.m_axi_wvalid;
        if (wants_read && credit_ >= 1 && !(wants_write && credit_ < 2 && read_had_turn_)) {
            offer_beat(top, cycle);
            credit_ -= 1;
            read_had_turn_ = true;
        } else if (!read_offered_) {
            top.m_axi_rvalid = 0;
        }
        top.m_axi_wready = room && credit_ >= 1;

        if (!response_offered_) {
            response_offered_ = !responses_.empty() && responses_.front().due <= cycle && !responses_.front().held && !pause();
            top.m_axi_bvalid = response_offered_;
            if (response_offered_) {
                top.m_axi_bresp = responses_.front().response;
                top.m_axi_bid = responses_.front().id;
            }
        }
    }

    void sample(const Vtop& top, uint64_t cycle) {
        sample_read_address(top, cycle);
        sample_write_address(top, cycle);
        sample_write_data(top, cycle);
        if (read_offered_ && top.m_axi_rready) {
            Read& read = reads_.front();
            if (++read.done == read.beats) reads_.pop_front();
            read_offered_ = false;
            ++statistics.read_beats;
        }
        if (response_offered_ && top.m_axi_bready) {
            responses_.pop_front();
            response_offered_ = false;
        }
        commit_writes(cycle);
    }

    void check_reset(const Vtop& top, uint64_t cycle) {
        if (top.m_axi_arvalid || top.m_axi_awvalid || top.m_axi_wvalid) report(VALID_IN_RESET, 0, cycle);
    }

  private:
    static constexpr size_t MAX_EARLY_BEATS = 16;  // data that may come before their address
    static constexpr size_t MAX_VIOLATIONS = 64;

    struct Address {
        bool waiting = false;
        uint64_t address = 0;
        uint32_t beats = 0;
        uint32_t size = 0;
        uint32_t burst = 0;
        uint32_t id = 0;

        bool operator==(const Address& other) const {
            return address == other.address && beats == other.beats && size == other.size && burst == other.burst && id == other.id;
        }
    };
    struct Read {
        uint64_t address;
        uint64_t number;
        uint64_t due;
        uint32_t beats;
        uint32_t done;
        uint32_t id;
        bool held;
    };
    struct Write {
        uint64_t address;
        uint64_t number;
        uint32_t beats;
        uint32_t done;
        uint32_t id;
        uint8_t response;
    };
    struct Beat {
        bool waiting = false;
        bool last = false;
        uint64_t strobes = 0;
        uint8_t bytes[BEAT_BYTES] = {};

        bool operator==(const Beat& other) const {
            return last == other.last && strobes == other.strobes && std::memcmp(bytes, other.bytes, BEAT_BYTES) == 0;
        }
    };
    struct Answer {
        uint64_t address;
        uint64_t number;
        uint64_t due;
        uint32_t beats;
        uint32_t id;
        uint8_t response;
        bool held;
    };

    std::vector<Fault> faults_;
    std::deque<Read> reads_;
    std::deque<Write> writes_;
    std::deque<Beat> data_;
    std::deque<Answer> responses_;
    Address read_address_;
    Address write_address_;
    Beat beat_;
    uint64_t read_number_ = 0;
    uint64_t write_number_ = 0;
    double credit_ = 0;
    bool read_had_turn_ = false;
    bool read_offered_ = false;
    bool response_offered_ = false;

    bool pause() { return random.chance(options.stall); }

    void report(Rule rule, uint64_t address, uint64_t cycle) {
        ++statistics.violations;
        if (violations.size() < MAX_VIOLATIONS) violations.push_back({cycle, address, rule});
    }

    uint8_t* find(uint64_t address, bool write) {
        for (const Region& region : regions) {
            const uint64_t offset = address - region.base;
            if (offset < region.size && BEAT_BYTES <= region.size - offset && (write ? region.writable : region.readable)) {
                return region.bytes + offset;
            }
        }
        return nullptr;
    }

    uint8_t injected(bool write, uint64_t number, uint64_t address) const {
        for (const Fault& fault : faults_)
            if (fault.response != NO_RESPONSE && fault.meets(write, number, address, BEAT_BYTES)) return fault.response;
        return OKAY;
    }

    bool withheld(bool write, uint64_t number, uint64_t address, uint64_t beats) const {
        for (const Fault& fault : faults_)
            if (fault.response == NO_RESPONSE && fault.meets(write, number, address, beats * BEAT_BYTES)) return true;
        return false;
    }

    void offer_beat(Vtop& top, uint64_t cycle) {
        Read& read = reads_.front();
        const uint64_t address = read.address + uint64_t(read.done) * BEAT_BYTES;
        uint8_t response = injected(false, read.number, address);
        const uint8_t* bytes = find(address, false);
        if (bytes == nullptr) {
            report(OUT_OF_RANGE, address, cycle);
            response = DECERR;
        }
        if (response == OKAY) {
            put_bytes(top.m_axi_rdata, bytes, BEAT_BYTES);
        } else {
            // Whoever uses data that were refused is found out.
            uint8_t noise[BEAT_BYTES];
            std::memset(noise, 0xA5, BEAT_BYTES);
            put_bytes(top.m_axi_rdata, noise, BEAT_BYTES);
        }
        top.m_axi_rresp = response;
        top.m_axi_rid = read.id;
        top.m_axi_rlast = read.done + 1 == read.beats;
        top.m_axi_rvalid = 1;
        read_offered_ = true;
    }

    // Once valid, a request stays until it is taken.
    bool check_address(bool valid, bool ready, const Address& now, Address& before, Rule rule, uint64_t cycle) {
        if (before.waiting && !(valid && now == before)) report(rule, before.address, cycle);
        before = now;
        before.waiting = valid && !ready;
        if (!valid || !ready) return false;
        const uint64_t bytes = uint64_t(now.beats) * BEAT_BYTES;
        if (now.address % BEAT_BYTES) report(NOT_ALIGNED, now.address, cycle);
        if (now.burst != 1 || (1u << now.size) != BEAT_BYTES) report(BURST_KIND, now.address, cycle);
        if (now.address / PAGE_BYTES != (now.address + bytes - 1) / PAGE_BYTES) report(CROSSES_PAGE, now.address, cycle);
        return true;
    }

    void sample_read_address(const Vtop& top, uint64_t cycle) {
        const Address now = {false, top.m_axi_araddr, top.m_axi_arlen + 1u, top.m_axi_arsize, top.m_axi_arburst, top.m_axi_arid};
        if (!check_address(top.m_axi_arvalid, top.m_axi_arready, now, read_address_, READ_ADDRESS_CHANGED, cycle)) return;
        const bool held = withheld(false, read_number_, now.address, now.beats);
        reads_.push_back({now.address, read_number_++, cycle + options.latency, now.beats, 0, now.id, held});
        ++statistics.read_transactions;
    }

    void sample_write_address(const Vtop& top, uint64_t cycle) {
        const Address now = {false, top.m_axi_awaddr, top.m_axi_awlen + 1u, top.m_axi_awsize, top.m_axi_awburst, top.m_axi_awid};
        if (!check_address(top.m_axi_awvalid, top.m_axi_awready, now, write_address_, WRITE_ADDRESS_CHANGED, cycle)) return;
        writes_.push_back({now.address, write_number_++, now.beats, 0, now.id, OKAY});
        ++statistics.write_transactions;
    }

    void sample_write_data(const Vtop& top, uint64_t cycle) {
        if (!top.m_axi_wvalid && !beat_.waiting) return;
        Beat now;
        now.last = top.m_axi_wlast;
        now.strobes = top.m_axi_wstrb;
        std::memcpy(now.bytes, &top.m_axi_wdata, BEAT_BYTES);
        if (beat_.waiting && !(top.m_axi_wvalid && now == beat_)) {
            report(WRITE_DATA_CHANGED, writes_.empty() ? 0 : writes_.front().address, cycle);
        }
        beat_ = now;
        beat_.waiting = top.m_axi_wvalid && !top.m_axi_wready;
        if (!top.m_axi_wvalid || !top.m_axi_wready) return;
        data_.push_back(now);
        credit_ -= 1;
        read_had_turn_ = false;
        ++statistics.write_beats;
        statistics.written_bytes += __builtin_popcountll(now.strobes);
    }

    void commit_writes(uint64_t cycle) {
        while (!data_.empty() && !writes_.empty()) {
            const Beat& beat = data_.front();
            Write& write = writes_.front();
            const uint64_t address = write.address + uint64_t(write.done) * BEAT_BYTES;
            ++write.done;
            const bool last = write.done == write.beats;
            if (beat.last != last) report(WRITE_LAST, address, cycle);
            const uint8_t response = injected(true, write.number, address);
            uint8_t* bytes = find(address, true);
            if (bytes == nullptr) {
                report(OUT_OF_RANGE, address, cycle);
                write.response = DECERR;
            } else if (response != OKAY) {
                write.response = std::max(write.response, response);
            } else {
                for (unsigned i = 0; i < BEAT_BYTES; ++i)
                    if (beat.strobes >> i & 1) bytes[i] = beat.bytes[i];
            }
            data_.pop_front();
            if (last) {
                const bool held = withheld(true, write.number, write.address, write.beats);
                responses_.push_back(
                    {write.address, write.number, cycle + options.latency, write.beats, write.id, write.response, held});
                writes_.pop_front();
            }
        }
    }
};

}  // namespace crisp
