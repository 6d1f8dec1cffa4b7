// libvdb for C++17 and later: one header over vdb.h, the C API, and nothing else.
//
//     vdb::build("words.vdb", vdb::source::rows(vectors, 100), options);
//     const auto index = vdb::index::open("words.vdb");
//     for (const auto& [id, distance] : index.search(query, 10))
//         std::printf("%llu %g\n", static_cast<unsigned long long>(id), static_cast<double>(distance));
//
// Compile with -I for vdb.h and link with -lvdb. What a call does, costs and answers is said in vdb.h; here
// it gets owners, spans, and two ways to fail: `search` throws vdb::error, `try_search` is noexcept and
// returns vdb::result. With -fno-exceptions only the second way is there; -fno-rtti changes nothing. Each C
// function is called from one place, and what it checks is not checked again: only lengths, which C cannot
// see. Longer than other files, so that it is one to copy and include.
//
// Threads: as in C. Const members from any number of threads at once; a cursor, from one at a time. An object
// that was moved from is empty: calls on it fail with invalid_argument.

#ifndef VDB_HPP
#define VDB_HPP

#include "vdb.h"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#if __has_include(<version>)
#include <version>
#endif
#if defined(__cpp_lib_span)
#include <span>
#endif

namespace vdb {

// -----------------------------------------------------------------------------------------------------------
// Arrays
// -----------------------------------------------------------------------------------------------------------

#if defined(__cpp_lib_span)
using std::span;
#else
/// What std::span is from C++20 on, as far as this header needs it: a pointer and a length, owning nothing.
template <class T>
class span {
    template <class From>
    using same_element = std::enable_if_t<std::is_convertible_v<std::remove_pointer_t<From> (*)[], T (*)[]>>;

public:
    constexpr span() noexcept = default;
    constexpr span(T* data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <std::size_t N>
    constexpr span(T (&array)[N]) noexcept : span(array, N) {}
    /// From whatever has data() and size().
    template <class Array, class = same_element<decltype(std::declval<Array&>().data())>>
    constexpr span(Array&& array) noexcept : span(array.data(), array.size()) {}

    constexpr T* data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T& operator[](std::size_t i) const noexcept { return data_[i]; }
    constexpr T* begin() const noexcept { return data_; }
    constexpr T* end() const noexcept { return data_ + size_; }

private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
};
#endif

/// An array on the heap. Making one never throws: where memory does not suffice, it is empty.
template <class T>
class buffer {
public:
    buffer() noexcept = default;
    explicit buffer(std::size_t size) noexcept : data_(allocate(size)), size_(data_ ? size : 0) {}
    buffer(buffer&& from) noexcept : data_(std::move(from.data_)), size_(std::exchange(from.size_, 0)) {}
    buffer& operator=(buffer&& from) noexcept
    {
        data_ = std::move(from.data_);
        size_ = std::exchange(from.size_, 0);
        return *this;
    }

    T* data() noexcept { return data_.get(); }
    const T* data() const noexcept { return data_.get(); }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    T& operator[](std::size_t i) noexcept { return data_[i]; }
    const T& operator[](std::size_t i) const noexcept { return data_[i]; }
    T* begin() noexcept { return data(); }
    T* end() noexcept { return data() + size_; }
    const T* begin() const noexcept { return data(); }
    const T* end() const noexcept { return data() + size_; }

private:
    static T* allocate(std::size_t size) noexcept
    {
        return size <= PTRDIFF_MAX / sizeof(T) ? new (std::nothrow) T[size] : nullptr;
    }

    std::unique_ptr<T[]> data_;
    std::size_t size_ = 0;
};

// -----------------------------------------------------------------------------------------------------------
// Failure
// -----------------------------------------------------------------------------------------------------------

/// Why a call failed. A newer library may return others.
enum class status : vdb_status_t {
    ok = VDB_OK,
    invalid_argument = VDB_INVALID_ARGUMENT,
    not_found = VDB_NOT_FOUND,
    exists = VDB_EXISTS,
    corrupt = VDB_CORRUPT,
    format = VDB_FORMAT,
    io = VDB_IO,
    disk_full = VDB_DISK_FULL,
    out_of_memory = VDB_OUT_OF_MEMORY,
    cancelled = VDB_CANCELLED,
    timeout = VDB_TIMEOUT,
    busy = VDB_BUSY,
    read_only = VDB_READ_ONLY,
    unsupported = VDB_UNSUPPORTED,
    forked = VDB_FORKED,
    misuse = VDB_MISUSE,
    internal = VDB_INTERNAL,
};

/// "VDB_CORRUPT" and so on.
inline const char* name(status value) noexcept { return vdb_status_name(static_cast<vdb_status_t>(value)); }

/// A failure: thrown, or held by a result. Copies share one message.
class error : public std::exception {
public:
    /// Of a C call; takes the object over.
    error(vdb_status_t status, vdb_error_t* object) noexcept : status_(static_cast<vdb::status>(status))
    {
#if defined(__cpp_exceptions)
        try {
            object_.reset(object, &vdb_error_free);
        } catch (const std::bad_alloc&) {
            // reset has freed the object; the status and its name remain.
        }
#else
        object_.reset(object, &vdb_error_free);
#endif
    }
    /// With a sentence that lives on, a literal.
    error(vdb::status status, const char* literal) noexcept : status_(status), literal_(literal) {}

    vdb::status status() const noexcept { return status_; }
    /// What went wrong and what to do about it.
    const char* what() const noexcept override
    {
        return object_ ? vdb_error_message(object_.get()) : literal_ ? literal_ : name(status_);
    }
    /// A number that belongs to the failure, VDB_DETAIL_..., or -1.
    std::int64_t detail(vdb_detail_t which) const noexcept { return vdb_error_detail(object_.get(), which); }

private:
    vdb::status status_;
    const char* literal_ = nullptr;
    std::shared_ptr<vdb_error_t> object_;
};

/// A value or a failure, with the names of std::expected.
template <class T>
class [[nodiscard]] result {
public:
    result(T value) noexcept : state_(std::in_place_index<0>, std::move(value)) {}
    result(vdb::error error) noexcept : state_(std::in_place_index<1>, std::move(error)) {}

    bool has_value() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }
    /// The value, which must be there.
    T& operator*() & noexcept { return *std::get_if<0>(&state_); }
    const T& operator*() const& noexcept { return *std::get_if<0>(&state_); }
    T&& operator*() && noexcept { return std::move(*std::get_if<0>(&state_)); }
    T* operator->() noexcept { return std::get_if<0>(&state_); }
    const T* operator->() const noexcept { return std::get_if<0>(&state_); }
    /// The failure, which must be there.
    const vdb::error& error() const noexcept { return *std::get_if<1>(&state_); }
#if defined(__cpp_exceptions)
    /// The value; throws the failure if there is none.
    T& value() & { return check(), **this; }
    const T& value() const& { return check(), **this; }
    T&& value() && { return check(), *std::move(*this); }
#endif

private:
#if defined(__cpp_exceptions)
    void check() const
    {
        if (!has_value())
            throw vdb::error(error());
    }
#endif

    std::variant<T, vdb::error> state_;
};

/// Done, or a failure.
template <>
class [[nodiscard]] result<void> {
public:
    result() noexcept = default;
    result(vdb::error error) noexcept : error_(std::move(error)) {}

    bool has_value() const noexcept { return !error_; }
    explicit operator bool() const noexcept { return has_value(); }
    const vdb::error& error() const noexcept { return *error_; }
#if defined(__cpp_exceptions)
    void value() const
    {
        if (error_)
            throw vdb::error(*error_);
    }
#endif

private:
    std::optional<vdb::error> error_;
};

// -----------------------------------------------------------------------------------------------------------
// Options. All of them may be left as they are.
// -----------------------------------------------------------------------------------------------------------

/// A time limit; none, if it is empty. One that has passed already fails the call.
using timeout = std::optional<std::chrono::nanoseconds>;

/// Stops calls that it was given to, from any thread and from signal handlers. Outlives them.
class cancel_token {
public:
    void cancel() noexcept { flag_.store(1, std::memory_order_release); }
    /// To use it again, when all calls have returned.
    void reset() noexcept { flag_.store(0, std::memory_order_release); }
    bool cancelled() const noexcept { return flag_.load(std::memory_order_acquire) != 0; }
    const vdb_cancel_t* handle() const noexcept { return reinterpret_cast<const vdb_cancel_t*>(&flag_); }

private:
    std::atomic<vdb_cancel_t> flag_{0};
    static_assert(sizeof(std::atomic<vdb_cancel_t>) == sizeof(vdb_cancel_t));
    static_assert(std::atomic<vdb_cancel_t>::is_always_lock_free);
};

/// How to open an index; see vdb_options_t.
struct open_options {
    std::uint64_t memory_limit_bytes = 0;
    std::uint64_t vector_cache_bytes = 0; ///< VDB_CACHE_OFF: none
    std::uint64_t answer_cache_bytes = 0; ///< VDB_CACHE_OFF: none
    std::uint32_t threads = 0;
    std::uint32_t flags = 0; ///< VDB_OPEN_...
    const vdb_pool_t* pool = nullptr;
    vdb_log_fn log = nullptr; ///< called until the index is gone
    void* log_user = nullptr;
    vdb_log_level_t log_level = 0;
};

/// Which rows a search may return; see vdb_filter_t. Refers to the caller's array, which lives through the
/// search.
class filter {
public:
    /// Every row.
    filter() noexcept = default;
    /// These ids, ascending; or all but these.
    static filter only(span<const std::uint64_t> ids) noexcept { return {VDB_FILTER_IDS, 0, ids, 0}; }
    static filter except(span<const std::uint64_t> ids) noexcept { return {VDB_FILTER_IDS, 1, ids, 0}; }
    /// The ids whose bits are set, bit i being for id first_id + i; or all but these.
    static filter only_bits(span<const std::uint64_t> words, std::uint64_t first_id = 0) noexcept
    {
        return {VDB_FILTER_BITMAP, 0, words, first_id};
    }
    static filter except_bits(span<const std::uint64_t> words, std::uint64_t first_id = 0) noexcept
    {
        return {VDB_FILTER_BITMAP, 1, words, first_id};
    }
    const vdb_filter_t* handle() const noexcept { return raw_.struct_size != 0 ? &raw_ : nullptr; }

private:
    filter(vdb_filter_kind_t kind, std::uint32_t exclude, span<const std::uint64_t> values,
           std::uint64_t first_id) noexcept
    {
        raw_.struct_size = sizeof raw_;
        raw_.kind = kind;
        raw_.exclude = exclude;
        raw_.values = values.data();
        raw_.value_count = values.size();
        raw_.first_id = first_id;
    }

    vdb_filter_t raw_{};
};

/// What a search did.
using search_stats = vdb_search_stats_t;

/// How to search; see vdb_search_params_t.
struct search_options {
    float recall = 0;         ///< wanted recall@10; 0: 0.95
    std::uint32_t probes = 0; ///< leaves to visit; 0: from recall
    std::uint32_t rerank = 0; ///< most exact distances; UINT32_MAX: every row visited
    std::uint32_t threads = 0;
    bool exact = false; ///< every row by its exact distance
    bool cache = true;  ///< false: neither read nor fill the caches
    vdb::timeout timeout;
    std::optional<float> max_distance; ///< no row farther than this
    vdb::filter filter;
    const cancel_token* cancel = nullptr;
    search_stats* stats = nullptr; ///< is filled
};

/// How distance is measured: squared L2, the negated inner product, 1 - cosine. Smaller is closer.
enum class metric : vdb_metric_t {
    l2 = VDB_METRIC_L2,
    inner_product = VDB_METRIC_IP,
    cosine = VDB_METRIC_COSINE
};

/// Whether rows that lie near each other are linked: if memory has room for making them, always, never.
enum class links : vdb_links_t { automatic = VDB_LINKS_AUTO, on = VDB_LINKS_ON, off = VDB_LINKS_OFF };

/// What to build, and how; see vdb_build_options_t and vdb_job_t.
struct build_options {
    vdb::metric metric = vdb::metric::l2;
    std::uint64_t seed = 0;
    bool flat = false;    ///< no tree
    bool replace = false; ///< an index that is at the path
    vdb::links links = vdb::links::automatic;
    std::uint32_t leaf_rows = 0;
    std::uint32_t fanout = 0;
    std::uint32_t code_bits = 0;
    std::uint64_t segment_rows = 0;
    std::uint64_t memory_limit_bytes = 0;
    std::uint32_t threads = 0;
    vdb::timeout timeout;
    const cancel_token* cancel = nullptr;
    const vdb_pool_t* pool = nullptr;
    vdb_log_fn log = nullptr;
    void* log_user = nullptr;
    vdb_log_level_t log_level = 0;
};

// -----------------------------------------------------------------------------------------------------------
// Answers
// -----------------------------------------------------------------------------------------------------------

/// A row that was found.
struct hit {
    std::uint64_t id;
    float distance;
};

/// Rows that were found, closest first. Refers to arrays of ids and distances.
class hit_view {
public:
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = hit;
        using difference_type = std::ptrdiff_t;
        using pointer = const hit*;
        using reference = hit;

        iterator() noexcept = default;
        iterator(const std::uint64_t* id, const float* distance) noexcept : id_(id), distance_(distance) {}
        hit operator*() const noexcept { return {*id_, *distance_}; }
        iterator& operator++() noexcept { return ++id_, ++distance_, *this; }
        iterator operator++(int) noexcept
        {
            const iterator before = *this;
            ++*this;
            return before;
        }
        bool operator==(const iterator& other) const noexcept { return id_ == other.id_; }
        bool operator!=(const iterator& other) const noexcept { return id_ != other.id_; }

    private:
        const std::uint64_t* id_ = nullptr;
        const float* distance_ = nullptr;
    };

    hit_view() noexcept = default;
    hit_view(const std::uint64_t* ids, const float* distances, std::size_t size) noexcept
        : ids_(ids), distances_(distances), size_(size)
    {
    }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    hit operator[](std::size_t i) const noexcept { return {ids_[i], distances_[i]}; }
    iterator begin() const noexcept { return {ids_, distances_}; }
    iterator end() const noexcept { return {ids_ + size_, distances_ + size_}; }
    span<const std::uint64_t> ids() const noexcept { return {ids_, size_}; }
    span<const float> distances() const noexcept { return {distances_, size_}; }

private:
    const std::uint64_t* ids_ = nullptr;
    const float* distances_ = nullptr;
    std::size_t size_ = 0;
};

/// Rows that were found, owned. Move-only; empty when moved from.
class hits : public hit_view {
public:
    hits() noexcept = default;
    hits(buffer<std::uint64_t> ids, buffer<float> distances, std::size_t count) noexcept
        : hit_view(ids.data(), distances.data(), count), ids_(std::move(ids)),
          distances_(std::move(distances))
    {
    }
    hits(hits&& from) noexcept
        : hit_view(std::exchange(static_cast<hit_view&>(from), hit_view())), ids_(std::move(from.ids_)),
          distances_(std::move(from.distances_))
    {
    }
    hits& operator=(hits&& from) noexcept
    {
        hit_view::operator=(std::exchange(static_cast<hit_view&>(from), hit_view()));
        ids_ = std::move(from.ids_);
        distances_ = std::move(from.distances_);
        return *this;
    }

private:
    buffer<std::uint64_t> ids_;
    buffer<float> distances_;
};

/// The answers of a batch, one for each query. Move-only; empty when moved from.
class batch_hits {
public:
    batch_hits() noexcept = default;
    batch_hits(buffer<std::uint64_t> ids, buffer<float> distances, buffer<std::size_t> counts,
               std::size_t k) noexcept
        : ids_(std::move(ids)), distances_(std::move(distances)), counts_(std::move(counts)), k_(k)
    {
    }
    /// How many queries.
    std::size_t size() const noexcept { return counts_.size(); }
    hit_view operator[](std::size_t query) const noexcept
    {
        return {ids_.data() + query * k_, distances_.data() + query * k_, counts_[query]};
    }

private:
    buffer<std::uint64_t> ids_;
    buffer<float> distances_;
    buffer<std::size_t> counts_;
    std::size_t k_ = 0;
};

// -----------------------------------------------------------------------------------------------------------
// To C
// -----------------------------------------------------------------------------------------------------------

namespace detail {

template <class T>
T sized() noexcept
{
    T value{};
    value.struct_size = sizeof(T);
    return value;
}

inline std::uint64_t nanoseconds(const timeout& limit) noexcept
{
    return !limit ? 0 : limit->count() > 0 ? static_cast<std::uint64_t>(limit->count()) : 1;
}

inline vdb_options_t to_c(const open_options& options) noexcept
{
    auto raw = sized<vdb_options_t>();
    raw.memory_limit_bytes = options.memory_limit_bytes;
    raw.vector_cache_bytes = options.vector_cache_bytes;
    raw.answer_cache_bytes = options.answer_cache_bytes;
    raw.pool = options.pool;
    raw.log = options.log;
    raw.log_user = options.log_user;
    raw.log_level = options.log_level;
    raw.threads = options.threads;
    raw.flags = options.flags;
    return raw;
}

/// Refers to the options.
inline vdb_search_params_t to_c(const search_options& options) noexcept
{
    auto raw = sized<vdb_search_params_t>();
    raw.recall = options.recall;
    raw.probes = options.probes;
    raw.rerank = options.rerank;
    raw.threads = options.threads;
    if (options.exact)
        raw.flags |= VDB_SEARCH_EXACT;
    if (!options.cache)
        raw.flags |= VDB_SEARCH_NO_CACHE;
    if (options.max_distance) {
        raw.flags |= VDB_SEARCH_MAX_DISTANCE;
        raw.max_distance = *options.max_distance;
    }
    raw.timeout_ns = nanoseconds(options.timeout);
    raw.filter = options.filter.handle();
    raw.cancel = options.cancel ? options.cancel->handle() : nullptr;
    raw.stats = options.stats;
    if (raw.stats)
        *raw.stats = sized<search_stats>();
    return raw;
}

inline vdb_build_options_t build_to_c(const build_options& options, vdb_build_report_t* report) noexcept
{
    auto raw = sized<vdb_build_options_t>();
    raw.seed = options.seed;
    raw.metric = static_cast<vdb_metric_t>(options.metric);
    if (options.flat)
        raw.flags |= VDB_BUILD_FLAT;
    if (options.replace)
        raw.flags |= VDB_BUILD_REPLACE;
    raw.leaf_rows = options.leaf_rows;
    raw.fanout = options.fanout;
    raw.code_bits = options.code_bits;
    raw.links = static_cast<vdb_links_t>(options.links);
    raw.segment_rows = options.segment_rows;
    raw.report = report;
    return raw;
}

/// Refers to the options.
inline vdb_job_t job_to_c(const build_options& options) noexcept
{
    auto raw = sized<vdb_job_t>();
    raw.log = options.log;
    raw.log_user = options.log_user;
    raw.cancel = options.cancel ? options.cancel->handle() : nullptr;
    raw.timeout_ns = nanoseconds(options.timeout);
    raw.memory_limit_bytes = options.memory_limit_bytes;
    raw.pool = options.pool;
    raw.threads = options.threads;
    raw.log_level = options.log_level;
    return raw;
}

/// Calls f(vdb_error_t**).
template <class F>
result<void> call(F&& f) noexcept
{
    vdb_error_t* object = nullptr;
    const vdb_status_t status = f(&object);
    if (status != VDB_OK)
        return vdb::error(status, object);
    return {};
}

/// Calls f(T*, vdb_error_t**), which fills a T.
template <class T, class F>
result<T> fill(F&& f) noexcept
{
    T value = sized<T>();
    if (auto done = call([&](vdb_error_t** error) { return f(&value, error); }); !done)
        return done.error();
    return value;
}

inline vdb::error wrong_length(const char* literal) noexcept { return {status::invalid_argument, literal}; }
inline vdb::error no_memory() noexcept
{
    return {status::out_of_memory, "no memory for the answers; ask for fewer"};
}

struct free_handle {
    void operator()(vdb_t* db) const noexcept { vdb_free(db); }
    void operator()(vdb_cursor_t* cursor) const noexcept { vdb_cursor_free(cursor); }
};

} // namespace detail

// -----------------------------------------------------------------------------------------------------------
// Index and cursor
// -----------------------------------------------------------------------------------------------------------

/// A search that goes on: the nearest rows, and the next ones. One thread at a time. Outlives its index if
/// need be.
class cursor {
public:
    explicit cursor(vdb_cursor_t* handle) noexcept : handle_(handle) {}

    /// The next rows, at most capacity of them; none at the end.
    result<hits> try_next(std::size_t capacity) noexcept
    {
        buffer<std::uint64_t> ids(capacity);
        buffer<float> distances(capacity);
        if (ids.size() != capacity || distances.size() != capacity)
            return detail::no_memory();
        auto count = try_next_into(ids, distances);
        if (!count)
            return count.error();
        return hits(std::move(ids), std::move(distances), *count);
    }
    /// As above, into the caller's arrays, of one length. Returns how many.
    result<std::size_t> try_next_into(span<std::uint64_t> ids, span<float> distances) noexcept
    {
        if (!distances.empty() && distances.size() != ids.size())
            return detail::wrong_length("distances must be as long as ids, or empty");
        std::size_t count = 0;
        auto done = detail::call([&](vdb_error_t** error) {
            return vdb_cursor_next(handle_.get(), ids.size(), ids.data(), distances.data(), &count, error);
        });
        if (!done)
            return done.error();
        return count;
    }
    vdb_cursor_t* handle() const noexcept { return handle_.get(); }

#if defined(__cpp_exceptions)
    hits next(std::size_t capacity) { return try_next(capacity).value(); }
    std::size_t next_into(span<std::uint64_t> ids, span<float> distances)
    {
        return try_next_into(ids, distances).value();
    }
#endif

private:
    std::unique_ptr<vdb_cursor_t, detail::free_handle> handle_;
};

/// An open index. Closed when it goes; no search may be running then.
class index {
public:
    index() noexcept = default;
    /// Takes over what vdb_open gave.
    explicit index(vdb_t* handle) noexcept : handle_(handle) {}

    static result<index> try_open(const std::string& path, const open_options& options = {}) noexcept
    {
        const vdb_options_t raw = detail::to_c(options);
        vdb_t* db = nullptr;
        if (auto done =
                detail::call([&](vdb_error_t** error) { return vdb_open(path.c_str(), &raw, &db, error); });
            !done)
            return done.error();
        return index(db);
    }

    /// The k rows nearest to query.
    result<hits> try_search(span<const float> query, std::size_t k,
                            const search_options& options = {}) const noexcept
    {
        buffer<std::uint64_t> ids(k);
        buffer<float> distances(k);
        if (ids.size() != k || distances.size() != k)
            return detail::no_memory();
        auto count = try_search_into(query, ids, distances, options);
        if (!count)
            return count.error();
        return hits(std::move(ids), std::move(distances), *count);
    }
    /// As above, into the caller's arrays: k is the length of ids, distances is as long or empty. Returns how
    /// many. Allocates nothing.
    result<std::size_t> try_search_into(span<const float> query, span<std::uint64_t> ids,
                                        span<float> distances,
                                        const search_options& options = {}) const noexcept
    {
        if (!distances.empty() && distances.size() != ids.size())
            return detail::wrong_length("distances must be as long as ids, or empty");
        const vdb_search_params_t raw = detail::to_c(options);
        std::size_t count = 0;
        auto done = detail::call([&](vdb_error_t** error) {
            return vdb_search(handle_.get(), query.data(), query.size(), ids.size(), &raw, ids.data(),
                              distances.data(), &count, error);
        });
        if (!done)
            return done.error();
        return count;
    }

    /// Many queries at once, one after the other in queries, each of dim floats.
    result<batch_hits> try_batch_search(span<const float> queries, std::size_t dim, std::size_t k,
                                        const search_options& options = {}) const noexcept
    {
        const std::size_t count = dim != 0 ? queries.size() / dim : 0;
        if (k != 0 && count > SIZE_MAX / k)
            return detail::no_memory();
        buffer<std::uint64_t> ids(count * k);
        buffer<float> distances(count * k);
        buffer<std::size_t> counts(count);
        if (ids.size() != count * k || distances.size() != count * k || counts.size() != count)
            return detail::no_memory();
        if (auto done = try_batch_search_into(queries, dim, k, ids, distances, counts, options); !done)
            return done.error();
        return batch_hits(std::move(ids), std::move(distances), std::move(counts), k);
    }
    /// As above, into the caller's arrays: k ids for each query, as many distances or none, a count for each
    /// or none.
    result<void> try_batch_search_into(span<const float> queries, std::size_t dim, std::size_t k,
                                       span<std::uint64_t> ids, span<float> distances,
                                       span<std::size_t> counts,
                                       const search_options& options = {}) const noexcept
    {
        const std::size_t count = dim != 0 ? queries.size() / dim : 0;
        if (count * dim != queries.size())
            return detail::wrong_length("queries must hold dim floats for each query");
        if (k != 0 && (ids.size() / k != count || ids.size() % k != 0))
            return detail::wrong_length("ids must have room for k of each query");
        if (!distances.empty() && distances.size() != ids.size())
            return detail::wrong_length("distances must be as long as ids, or empty");
        if (!counts.empty() && counts.size() != count)
            return detail::wrong_length("counts must have room for one of each query, or be empty");
        const vdb_search_params_t raw = detail::to_c(options);
        return detail::call([&](vdb_error_t** error) {
            return vdb_batch_search(handle_.get(), queries.data(), count, dim, k, &raw, ids.data(),
                                    distances.data(), counts.data(), error);
        });
    }

    /// A search that can go on. Filter and query are copied; a cancel token must outlive the cursor.
    result<vdb::cursor> try_cursor(span<const float> query, const search_options& options = {}) const noexcept
    {
        const vdb_search_params_t raw = detail::to_c(options);
        vdb_cursor_t* opened = nullptr;
        auto done = detail::call([&](vdb_error_t** error) {
            return vdb_cursor_open(handle_.get(), query.data(), query.size(), &raw, &opened, error);
        });
        if (!done)
            return done.error();
        return vdb::cursor(opened);
    }

    /// The vector of an id.
    result<buffer<float>> try_get(std::uint64_t id) const noexcept
    {
        const auto what = try_info();
        if (!what)
            return what.error();
        buffer<float> vector(what->dim);
        if (vector.size() != what->dim)
            return detail::no_memory();
        if (auto done = try_get_into(span<const std::uint64_t>(&id, 1), what->dim, vector); !done)
            return done.error();
        return vector;
    }
    /// The vectors of several ids, dim floats each. found gets 1 or 0 for each; without it all must be there.
    result<void> try_get_into(span<const std::uint64_t> ids, std::size_t dim, span<float> out,
                              span<std::uint8_t> found = {}) const noexcept
    {
        if (dim != 0 && (out.size() / dim != ids.size() || out.size() % dim != 0))
            return detail::wrong_length("out must have room for dim floats of each id");
        if (!found.empty() && found.size() != ids.size())
            return detail::wrong_length("found must be as long as ids, or empty");
        return detail::call([&](vdb_error_t** error) {
            return vdb_get(handle_.get(), ids.data(), ids.size(), dim, out.data(), found.data(), error);
        });
    }

    /// What it is, what happened since it was opened, and the memory it takes; see vdb.h for the fields.
    result<vdb_info_t> try_info() const noexcept
    {
        return detail::fill<vdb_info_t>(
            [&](auto* to, auto** error) { return vdb_info(handle_.get(), to, error); });
    }
    result<vdb_stats_t> try_stats() const noexcept
    {
        return detail::fill<vdb_stats_t>(
            [&](auto* to, auto** error) { return vdb_stats(handle_.get(), to, error); });
    }
    result<vdb_memory_t> try_memory() const noexcept
    {
        return detail::fill<vdb_memory_t>(
            [&](auto* to, auto** error) { return vdb_memory(handle_.get(), to, error); });
    }

    /// For what this header does not wrap; stays the index's.
    vdb_t* handle() const noexcept { return handle_.get(); }
    /// Gives the handle up, for vdb_free.
    [[nodiscard]] vdb_t* release() noexcept { return handle_.release(); }

#if defined(__cpp_exceptions)
    [[nodiscard]] static index open(const std::string& path, const open_options& options = {})
    {
        return try_open(path, options).value();
    }
    [[nodiscard]] hits search(span<const float> query, std::size_t k,
                              const search_options& options = {}) const
    {
        return try_search(query, k, options).value();
    }
    std::size_t search_into(span<const float> query, span<std::uint64_t> ids, span<float> distances,
                            const search_options& options = {}) const
    {
        return try_search_into(query, ids, distances, options).value();
    }
    [[nodiscard]] batch_hits batch_search(span<const float> queries, std::size_t dim, std::size_t k,
                                          const search_options& options = {}) const
    {
        return try_batch_search(queries, dim, k, options).value();
    }
    void batch_search_into(span<const float> queries, std::size_t dim, std::size_t k, span<std::uint64_t> ids,
                           span<float> distances, span<std::size_t> counts,
                           const search_options& options = {}) const
    {
        try_batch_search_into(queries, dim, k, ids, distances, counts, options).value();
    }
    [[nodiscard]] vdb::cursor cursor(span<const float> query, const search_options& options = {}) const
    {
        return try_cursor(query, options).value();
    }
    [[nodiscard]] buffer<float> get(std::uint64_t id) const { return try_get(id).value(); }
    void get_into(span<const std::uint64_t> ids, std::size_t dim, span<float> out,
                  span<std::uint8_t> found = {}) const
    {
        try_get_into(ids, dim, out, found).value();
    }
    [[nodiscard]] vdb_info_t info() const { return try_info().value(); }
    [[nodiscard]] vdb_stats_t stats() const { return try_stats().value(); }
    [[nodiscard]] vdb_memory_t memory() const { return try_memory().value(); }
#endif

private:
    std::unique_ptr<vdb_t, detail::free_handle> handle_;
};

// -----------------------------------------------------------------------------------------------------------
// Build
// -----------------------------------------------------------------------------------------------------------

/// Where vectors come from. Refers to the caller's arrays, which live through the build.
class source {
public:
    /// Rows of dim elements, one after the other: floats, bytes, or the bits of 16-bit floats.
    static source rows(span<const float> values, std::size_t dim) noexcept
    {
        return {values, dim, VDB_TYPE_F32};
    }
    static source rows(span<const std::uint8_t> values, std::size_t dim) noexcept
    {
        return {values, dim, VDB_TYPE_U8};
    }
    static source rows_f16(span<const std::uint16_t> bits, std::size_t dim) noexcept
    {
        return {bits, dim, VDB_TYPE_F16};
    }
    /// .npy .fvecs .bvecs .fbin or .u8bin
    static source file(std::string path) noexcept
    {
        source from;
        from.path_ = std::move(path);
        return from;
    }
    /// An id for each row of an array, instead of 0 and on.
    source& ids(span<const std::uint64_t> ids) noexcept
    {
        ids_ = ids;
        return *this;
    }
    /// The ids of a file's rows: .u64bin or .npy
    source& ids_file(std::string path) noexcept
    {
        ids_path_ = std::move(path);
        return *this;
    }

    /// As C has it; refers to this source.
    result<vdb_source_t> to_c() const noexcept
    {
        if (dim_ != 0 && elements_ % dim_ != 0)
            return detail::wrong_length("the rows must have dim elements each; there are some left over");
        auto raw = detail::sized<vdb_source_t>();
        raw.data = data_;
        raw.dim = dim_;
        raw.rows = dim_ != 0 ? elements_ / dim_ : 0;
        raw.type = type_;
        if (!ids_.empty() && ids_.size() != raw.rows && path_.empty())
            return detail::wrong_length("there must be an id for each row, or none at all");
        raw.ids = ids_.data();
        raw.path = path_.empty() ? nullptr : path_.c_str();
        raw.ids_path = ids_path_.empty() ? nullptr : ids_path_.c_str();
        return raw;
    }

private:
    source() noexcept = default;
    template <class T>
    source(span<const T> values, std::size_t dim, vdb_type_t type) noexcept
        : data_(values.data()), elements_(values.size()), dim_(dim), type_(type)
    {
    }

    const void* data_ = nullptr;
    std::size_t elements_ = 0;
    std::size_t dim_ = 0;
    vdb_type_t type_ = 0;
    span<const std::uint64_t> ids_;
    std::string path_;
    std::string ids_path_;
};

namespace detail {

struct silent {};

/// Lends a callable (std::string_view phase, std::uint64_t done, std::uint64_t total) to C. It returns
/// nothing, or whether to go on. What it throws is kept until C has returned.
template <class Progress>
class lent_progress {
public:
    explicit lent_progress(Progress& progress) noexcept : progress_(progress) {}

    void lend(vdb_job_t& job) noexcept
    {
        if constexpr (!std::is_same_v<std::remove_cv_t<Progress>, silent>) {
            job.progress = &lent_progress::tell;
            job.progress_user = this;
        }
    }

#if defined(__cpp_exceptions)
    std::exception_ptr thrown;
#endif

private:
    static std::int32_t tell(void* user, const char* phase, std::uint64_t done, std::uint64_t total) noexcept
    {
        auto& self = *static_cast<lent_progress*>(user);
#if defined(__cpp_exceptions)
        try {
            return self.go_on(phase, done, total) ? 0 : 1;
        } catch (...) {
            self.thrown = std::current_exception();
            return 1;
        }
#else
        return self.go_on(phase, done, total) ? 0 : 1;
#endif
    }

    bool go_on(std::string_view phase, std::uint64_t done, std::uint64_t total)
    {
        if constexpr (std::is_void_v<decltype(progress_(phase, done, total))>) {
            progress_(phase, done, total);
            return true;
        } else {
            return static_cast<bool>(progress_(phase, done, total));
        }
    }

    Progress& progress_;
};

template <class Progress>
result<vdb_build_report_t> build(const std::string& path, const source& from, const build_options& options,
                                 lent_progress<Progress>& progress) noexcept
{
    const auto rows = from.to_c();
    if (!rows)
        return rows.error();
    vdb_job_t job = job_to_c(options);
    progress.lend(job);
    return fill<vdb_build_report_t>([&](vdb_build_report_t* report, vdb_error_t** error) {
        const vdb_build_options_t raw = build_to_c(options, report);
        return vdb_build(path.c_str(), &*rows, &raw, &job, error);
    });
}

} // namespace detail

/// Builds an index in the directory path. progress is called on this thread with phase, done and total, and
/// stops the build by returning false; if it throws, the build fails with status cancelled.
template <class Progress = detail::silent>
result<vdb_build_report_t> try_build(const std::string& path, const source& from,
                                     const build_options& options = {},
                                     Progress&& progress = Progress()) noexcept
{
    detail::lent_progress<std::remove_reference_t<Progress>> lent(progress);
    return detail::build(path, from, options, lent);
}

#if defined(__cpp_exceptions)
/// As try_build, but throws what failed; what progress throws comes out here, when the build has been
/// stopped.
template <class Progress = detail::silent>
vdb_build_report_t build(const std::string& path, const source& from, const build_options& options = {},
                         Progress&& progress = Progress())
{
    detail::lent_progress<std::remove_reference_t<Progress>> lent(progress);
    auto built = detail::build(path, from, options, lent);
    if (lent.thrown)
        std::rethrow_exception(lent.thrown);
    return std::move(built).value();
}
#endif

/// The library that is loaded, as VDB_VERSION.
inline std::uint32_t version() noexcept { return vdb_version(); }

} // namespace vdb

#endif // VDB_HPP
