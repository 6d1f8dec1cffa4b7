// Tests of vdb.hpp: what the header adds to C, and that answers come through it unchanged.
//
// In: a directory to work in, as the only argument. Builds an index of generated rows there. Out: exit status
// 0, or 1 and the line of each check that failed. Compiles with and without exceptions; without, what throws
// is left out.

#include "vdb.hpp"
#include "vdb.hpp" // twice does no harm

#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#if defined(__cpp_exceptions)
#include <stdexcept>
#endif

/// Of another translation unit, which includes the header too.
std::uint32_t version_seen_elsewhere();

namespace {

constexpr std::size_t rows = 3000, dim = 48, queries = 64, k = 10;

int failures = 0;

void check(bool good, const char* what, int line)
{
    if (!good) {
        std::fprintf(stderr, "test.cpp:%d: not so: %s\n", line, what);
        ++failures;
    }
}

#define CHECK(condition) check((condition), #condition, __LINE__)

/// The value, where a failure would make the rest of the test pointless.
template <class T>
T must(vdb::result<T> value)
{
    if (!value) {
        std::fprintf(stderr, "test.cpp: %s: %s\n", vdb::name(value.error().status()), value.error().what());
        std::exit(1);
    }
    if constexpr (!std::is_void_v<T>)
        return *std::move(value);
}

template <class T>
bool fails_with(const vdb::result<T>& value, vdb::status status)
{
    return !value && value.error().status() == status && std::strlen(value.error().what()) > 0;
}

/// The same numbers on every machine.
class splitmix {
public:
    explicit splitmix(std::uint64_t seed) : state_(seed) {}
    float next()
    {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return static_cast<float>((z ^ (z >> 31)) >> 40) / static_cast<float>(1 << 24) - 0.5f;
    }

private:
    std::uint64_t state_;
};

/// Rows around 40 centres.
std::vector<float> clustered(std::size_t count, std::uint64_t seed)
{
    splitmix centre_numbers(1), numbers(seed);
    std::vector<float> centres(40 * dim), made(count * dim);
    for (float& value : centres)
        value = 4 * centre_numbers.next();
    for (std::size_t row = 0; row < count; ++row)
        for (std::size_t i = 0; i < dim; ++i)
            made[row * dim + i] = centres[row % 40 * dim + i] + numbers.next();
    return made;
}

vdb::span<const float> row_of(const std::vector<float>& values, std::size_t row)
{
    return {&values[row * dim], dim};
}

bool same(vdb::hit_view a, vdb::hit_view b)
{
    if (a.size() != b.size())
        return false;
    for (std::size_t i = 0; i < a.size(); ++i)
        if (a[i].id != b[i].id || std::memcmp(&a.distances()[i], &b.distances()[i], sizeof(float)) != 0)
            return false;
    return true;
}

struct fixture {
    std::string path;
    std::vector<float> base = clustered(rows, 2);
    std::vector<float> asked = clustered(queries, 3);
};

void build_reports_and_refuses(const fixture& f)
{
    std::size_t calls = 0;
    vdb::build_options options;
    options.replace = true;
    options.leaf_rows = 32; // so few rows would get no tree otherwise
    const auto report =
        must(vdb::try_build(f.path, vdb::source::rows(f.base, dim), options,
                            [&](std::string_view phase, std::uint64_t done, std::uint64_t total) {
                                CHECK(!phase.empty() && done <= total);
                                ++calls;
                            }));
    CHECK(report.rows == rows && report.disk_bytes > rows * dim * sizeof(float));
    CHECK(calls > 0);

    CHECK(fails_with(vdb::try_build(f.path, vdb::source::rows(f.base, dim)), vdb::status::exists));
    CHECK(fails_with(vdb::try_build(f.path + ".odd", vdb::source::rows(f.base, dim + 1)),
                     vdb::status::invalid_argument));
    const std::vector<std::uint64_t> one_id = {7};
    CHECK(fails_with(vdb::try_build(f.path + ".ids", vdb::source::rows(f.base, dim).ids(one_id)),
                     vdb::status::invalid_argument));
    CHECK(fails_with(vdb::try_build(f.path + ".none", vdb::source::file(f.path + "/none.npy")),
                     vdb::status::not_found));

    auto broken = f.base;
    broken[5 * dim] = std::nanf("");
    const auto refused = vdb::try_build(f.path + ".nan", vdb::source::rows(broken, dim));
    CHECK(fails_with(refused, vdb::status::invalid_argument) && refused.error().detail(VDB_DETAIL_ROW) == 5);

    const auto stopped = vdb::try_build(f.path + ".stop", vdb::source::rows(f.base, dim), {},
                                        [](std::string_view, std::uint64_t, std::uint64_t) { return false; });
    CHECK(fails_with(stopped, vdb::status::cancelled));
    vdb::cancel_token token;
    token.cancel();
    options.cancel = &token;
    CHECK(fails_with(vdb::try_build(f.path + ".stop", vdb::source::rows(f.base, dim), options),
                     vdb::status::cancelled));
    CHECK(fails_with(vdb::index::try_open(f.path + ".stop"), vdb::status::not_found));
}

void other_elements_and_ids(const fixture& f)
{
    std::vector<std::uint8_t> bytes(200 * 16);
    std::vector<std::uint16_t> halves(bytes.size());
    std::vector<std::uint64_t> ids(200);
    splitmix numbers(9);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::uint8_t>(128 + 100 * numbers.next());
        halves[i] = static_cast<std::uint16_t>(0x3c00 + i % 512); // from 1 to 1.5
    }
    for (std::size_t i = 0; i < ids.size(); ++i)
        ids[i] = 1000 + 3 * i;

    must(vdb::try_build(f.path + ".u8", vdb::source::rows(bytes, 16).ids(ids)));
    const auto of_bytes = must(vdb::index::try_open(f.path + ".u8"));
    CHECK(must(of_bytes.try_info()).type == VDB_TYPE_U8);
    const auto vector = must(of_bytes.try_get(1003));
    CHECK(vector.size() == 16 && vector[3] == static_cast<float>(bytes[16 + 3]));
    CHECK(must(of_bytes.try_search(vector, 1))[0].distance == 0);

    must(vdb::try_build(f.path + ".f16", vdb::source::rows_f16(halves, 16)));
    const auto of_halves = must(vdb::index::try_open(f.path + ".f16"));
    CHECK(must(of_halves.try_info()).type == VDB_TYPE_F16);
    CHECK(must(of_halves.try_get(0))[1] == 1 + 1 / 1024.0f);
}

void searches_agree(const fixture& f)
{
    const auto index = must(vdb::index::try_open(f.path));
    vdb::search_options exact, fresh;
    exact.exact = true;
    fresh.cache = false;

    std::size_t found_of_true = 0;
    std::vector<vdb::hits> singles;
    for (std::size_t query = 0; query < queries; ++query) {
        const auto truth = must(index.try_search(row_of(f.asked, query), k, exact));
        auto found = must(index.try_search(row_of(f.asked, query), k, fresh));
        CHECK(truth.size() == k && found.size() == k);
        for (const auto& [id, distance] : found) {
            double sum = 0;
            for (std::size_t i = 0; i < dim; ++i)
                sum += std::pow(static_cast<double>(f.base[id * dim + i] - f.asked[query * dim + i]), 2);
            CHECK(std::abs(sum - static_cast<double>(distance)) <= 1e-4 * sum);
            for (const vdb::hit nearest : truth)
                found_of_true += nearest.id == id;
        }
        singles.push_back(std::move(found));
    }
    CHECK(static_cast<double>(found_of_true) >= 0.9 * queries * k);

    const auto batch = must(index.try_batch_search(f.asked, dim, k));
    CHECK(batch.size() == queries);
    for (std::size_t query = 0; query < queries; ++query)
        CHECK(same(batch[query], singles[query]));

    std::uint64_t ids[k];
    float distances[k];
    CHECK(must(index.try_search_into(row_of(f.asked, 0), ids, distances)) == k);
    CHECK(same(vdb::hit_view(ids, distances, k), singles[0]));
    CHECK(must(index.try_search_into(row_of(f.asked, 0), ids, {})) == k);
}

void options_reach_the_search(const fixture& f)
{
    const auto index = must(vdb::index::try_open(f.path));
    const auto query = row_of(f.asked, 1);
    vdb::search_options options;
    options.exact = true;
    const auto all = must(index.try_search(query, 100, options));

    const std::vector<std::uint64_t> nearest(all.ids().begin(), all.ids().begin() + 3);
    std::vector<std::uint64_t> sorted = nearest;
    for (std::size_t i = 0; i < 2; ++i) // three need two rounds of swaps
        for (std::size_t j = 0; j < 2; ++j)
            if (sorted[j] > sorted[j + 1])
                std::swap(sorted[j], sorted[j + 1]);
    options.filter = vdb::filter::only(sorted);
    const auto only = must(index.try_search(query, k, options));
    CHECK(only.size() == 3 && only[0].id == nearest[0] && only[2].id == nearest[2]);
    options.filter = vdb::filter::except(sorted);
    CHECK(must(index.try_search(query, 1, options))[0].id == all[3].id);
    std::vector<std::uint64_t> bits(rows / 64 + 1);
    bits[nearest[1] / 64] |= std::uint64_t{1} << nearest[1] % 64;
    options.filter = vdb::filter::only_bits(bits);
    CHECK(must(index.try_search(query, k, options)).size() == 1);
    options.filter = vdb::filter::except_bits(bits);
    CHECK(must(index.try_search(query, 2, options))[1].id == nearest[2]);

    options.filter = {};
    options.max_distance = all[4].distance;
    CHECK(must(index.try_search(query, 100, options)).size() == 5);

    vdb::search_stats stats;
    options = {};
    options.stats = &stats;
    options.probes = 3;
    options.cache = false;
    CHECK(must(index.try_search(query, k, options)).size() == k);
    CHECK(stats.probes == 3 && stats.codes_scanned > 0);

    vdb::cancel_token token;
    options = {};
    options.cancel = &token;
    token.cancel();
    CHECK(token.cancelled() && fails_with(index.try_search(query, k, options), vdb::status::cancelled));
    token.reset();
    CHECK(index.try_search(query, k, options).has_value());

    options = {};
    options.cache = false;
    options.timeout = std::chrono::seconds(-1); // has passed
    CHECK(fails_with(index.try_search(query, k, options), vdb::status::timeout));
    options.timeout = std::chrono::hours(1);
    CHECK(index.try_search(query, k, options).has_value());
}

void the_cursor_goes_on(const fixture& f)
{
    auto index = must(vdb::index::try_open(f.path));
    vdb::search_options exact;
    exact.exact = true;
    const auto all = must(index.try_search(row_of(f.asked, 2), 60, exact));
    auto cursor = must(index.try_cursor(row_of(f.asked, 2), exact));
    index = {}; // the cursor stays good
    std::size_t place = 0;
    for (int portion = 0; portion < 3; ++portion)
        for (const auto& [id, distance] : must(cursor.try_next(20))) {
            CHECK(id == all[place].id && !(distance != all[place].distance));
            ++place;
        }
    CHECK(place == 60);
    std::vector<std::uint64_t> ids(rows);
    std::vector<float> distances(rows);
    CHECK(must(cursor.try_next_into(ids, distances)) == rows - 60);
    CHECK(must(cursor.try_next(5)).empty());
    CHECK(fails_with(cursor.try_next(0), vdb::status::invalid_argument));
    CHECK(fails_with(cursor.try_next(SIZE_MAX), vdb::status::out_of_memory));
}

void it_can_be_looked_at(const fixture& f)
{
    const auto index = must(vdb::index::try_open(f.path));
    const auto info = must(index.try_info());
    CHECK(info.links == 1);
    CHECK(info.rows == rows && info.dim == dim && info.metric == static_cast<vdb_metric_t>(vdb::metric::l2));
    CHECK(must(index.try_memory()).total_bytes > 0);
    const auto before = must(index.try_stats());
    must(index.try_search(row_of(f.asked, 0), k));
    CHECK(must(index.try_stats()).searches == before.searches + 1);

    const auto vector = must(index.try_get(17));
    CHECK(vector.size() == dim && std::memcmp(vector.data(), &f.base[17 * dim], dim * sizeof(float)) == 0);
    CHECK(fails_with(index.try_get(rows), vdb::status::not_found));
    const std::uint64_t ids[] = {5, rows, 6};
    std::vector<float> out(3 * dim);
    std::uint8_t found[3];
    must(index.try_get_into(ids, dim, out, found));
    CHECK(found[0] == 1 && found[1] == 0 && found[2] == 1 && out[dim] == 0.0f);
    CHECK(out[2 * dim] >= f.base[6 * dim] && out[2 * dim] <= f.base[6 * dim]);
    CHECK(vdb::version() == VDB_VERSION && version_seen_elsewhere() == VDB_VERSION);
}

void lengths_are_checked(const fixture& f)
{
    const auto index = must(vdb::index::try_open(f.path));
    const auto wrong = vdb::status::invalid_argument;
    std::vector<std::uint64_t> ids(k * queries);
    std::vector<float> distances(k * queries), out(dim);
    std::vector<std::size_t> counts(queries);
    const vdb::span<const float> query = row_of(f.asked, 0), queries_seen = f.asked;
    CHECK(fails_with(index.try_search({query.data(), dim - 1}, k), wrong));
    CHECK(fails_with(index.try_search({}, k), wrong));
    CHECK(fails_with(index.try_search(query, 0), wrong));
    CHECK(fails_with(index.try_search(query, SIZE_MAX), vdb::status::out_of_memory));
    CHECK(fails_with(index.try_search_into(query, ids, {distances.data(), k}), wrong));
    CHECK(fails_with(index.try_batch_search(queries_seen, dim - 1, k), wrong));
    CHECK(fails_with(index.try_batch_search(queries_seen, 0, k), wrong));
    CHECK(fails_with(index.try_batch_search(queries_seen, dim, SIZE_MAX), vdb::status::out_of_memory));
    CHECK(fails_with(index.try_batch_search_into(queries_seen, dim, k, {ids.data(), k}, {}, {}), wrong));
    CHECK(
        fails_with(index.try_batch_search_into(queries_seen, dim, k, ids, {distances.data(), k}, {}), wrong));
    CHECK(fails_with(index.try_batch_search_into(queries_seen, dim, k, ids, {}, {counts.data(), 1}), wrong));
    must(index.try_batch_search_into(queries_seen, dim, k, ids, {}, {}));
    must(index.try_batch_search_into(queries_seen, dim, k, ids, distances, counts));
    const std::uint64_t two[] = {1, 2};
    CHECK(fails_with(index.try_get_into(two, dim, out), wrong));

    auto bad = f.asked;
    bad[3 * dim + 1] = INFINITY;
    const auto refused = index.try_batch_search(bad, dim, k);
    CHECK(fails_with(refused, wrong) && refused.error().detail(VDB_DETAIL_ROW) == 3);
    const vdb::error copy = refused.error();
    CHECK(copy.what() == refused.error().what() && copy.detail(VDB_DETAIL_OS_CODE) == -1);
}

void owners_move(const fixture& f)
{
    static_assert(!std::is_copy_constructible_v<vdb::index> &&
                  std::is_nothrow_move_constructible_v<vdb::index>);
    static_assert(!std::is_copy_assignable_v<vdb::index> && std::is_nothrow_move_assignable_v<vdb::index>);
    static_assert(!std::is_copy_constructible_v<vdb::cursor> &&
                  std::is_nothrow_move_constructible_v<vdb::cursor>);
    static_assert(std::is_nothrow_copy_constructible_v<vdb::error>);
    auto first = must(vdb::index::try_open(f.path));
    auto second = std::move(first);
    CHECK(first.handle() == nullptr && second.handle() != nullptr);
    CHECK(fails_with(first.try_search(row_of(f.asked, 0), k), vdb::status::invalid_argument));
    CHECK(fails_with(first.try_info(), vdb::status::invalid_argument));
    auto found = must(second.try_search(row_of(f.asked, 0), k));
    auto moved = std::move(found);
    CHECK(found.empty() && found.begin() == found.end() && moved.size() == k);
    vdb_free(second.release());
    CHECK(second.handle() == nullptr);
}

void threads_share_an_index(const fixture& f)
{
    const auto index = must(vdb::index::try_open(f.path));
    const auto truth = must(index.try_batch_search(f.asked, dim, k));
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int thread = 0; thread < 8; ++thread)
        threads.emplace_back([&] {
            for (std::size_t query = 0; query < queries; ++query) {
                const auto found = index.try_search(row_of(f.asked, query), k);
                wrong += !found || !same(*found, truth[query]);
            }
        });
    for (auto& thread : threads)
        thread.join();
    CHECK(wrong == 0);
}

#if defined(__cpp_exceptions)
template <class F>
bool throws(vdb::status status, F&& f)
{
    try {
        f();
    } catch (const std::exception& thrown) {
        const auto* error = dynamic_cast<const vdb::error*>(&thrown);
        return error && error->status() == status && std::strlen(thrown.what()) > 0;
    }
    return false;
}

void failures_are_thrown(const fixture& f)
{
    CHECK(throws(vdb::status::not_found, [&] { auto none = vdb::index::open(f.path + ".none"); }));
    const auto index = vdb::index::open(f.path);
    CHECK(throws(vdb::status::invalid_argument, [&] { auto none = index.search({}, k); }));
    CHECK(throws(vdb::status::not_found, [&] { auto none = index.get(rows); }));
    CHECK(throws(vdb::status::exists, [&] { vdb::build(f.path, vdb::source::rows(f.base, dim)); }));

    CHECK(same(index.search(row_of(f.asked, 0), k), index.batch_search(f.asked, dim, k)[0]));
    CHECK(index.info().rows == rows && index.memory().total_bytes > 0 && index.stats().searches > 0);
    CHECK(index.cursor(row_of(f.asked, 0)).next(3).size() == 3);

    const std::string none = f.path + ".thrown";
    const auto throwing = [](std::string_view, std::uint64_t, std::uint64_t) {
        throw std::logic_error("mine");
    };
    bool came_back = false;
    try {
        vdb::build(none, vdb::source::rows(f.base, dim), {}, throwing);
    } catch (const std::logic_error& mine) {
        came_back = std::string(mine.what()) == "mine";
    }
    CHECK(came_back);
    CHECK(fails_with(vdb::try_build(none, vdb::source::rows(f.base, dim), {}, throwing),
                     vdb::status::cancelled));
    CHECK(throws(vdb::status::not_found, [&] { auto index_of_none = vdb::index::open(none); }));
}
#endif

} // namespace

int main(int argc, char** argv)
{
    if (argc != 2) {
        std::fprintf(stderr, "usage: test DIRECTORY\n");
        return 2;
    }
    fixture f;
    f.path = std::string(argv[1]) + "/test.vdb";
    build_reports_and_refuses(f);
    other_elements_and_ids(f);
    searches_agree(f);
    options_reach_the_search(f);
    the_cursor_goes_on(f);
    it_can_be_looked_at(f);
    lengths_are_checked(f);
    owners_move(f);
    threads_share_an_index(f);
#if defined(__cpp_exceptions)
    failures_are_thrown(f);
#endif
    return failures == 0 ? 0 : 1;
}
