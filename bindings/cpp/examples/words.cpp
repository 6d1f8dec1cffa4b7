// Semantic search over words, in C++: neighbours of the words asked for, none of them the word itself.
//
//     words INDEX DATA [WORD...]
//
// INDEX is opened, or built first if it is not there, from DATA/base.f16.npy; line i of DATA/words.txt is the
// word of row i.
//
//     c++ -std=c++17 -O2 -Iinclude -Ibindings/cpp bindings/cpp/examples/words.cpp -Ltarget/release -lvdb
//     LD_LIBRARY_PATH=target/release ./a.out words.vdb demo/data king guitar

#include "vdb.hpp"

#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace {

std::vector<std::string> read_lines(const std::string& path)
{
    std::ifstream file(path);
    if (!file)
        throw std::runtime_error("cannot read " + path);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);)
        lines.push_back(line);
    return lines;
}

vdb::index open_or_build(const std::string& path, const std::string& data)
{
    auto opened = vdb::index::try_open(path);
    if (opened)
        return *std::move(opened);
    if (opened.error().status() != vdb::status::not_found)
        throw vdb::error(opened.error());

    vdb::build_options options;
    options.metric = vdb::metric::cosine;
    const auto from = vdb::source::file(data + "/base.f16.npy");
    const auto report =
        vdb::build(path, from, options, [](std::string_view phase, std::uint64_t done, std::uint64_t total) {
            std::fprintf(stderr, "\r%-20s %3llu %%", std::string(phase).c_str(),
                         static_cast<unsigned long long>(total ? 100 * done / total : 0));
        });
    std::fprintf(stderr, "\rbuilt %llu words in %.1f MB on disk\n",
                 static_cast<unsigned long long>(report.rows), static_cast<double>(report.disk_bytes) / 1e6);
    return vdb::index::open(path);
}

void print_neighbours(const vdb::index& index, const std::vector<std::string>& words, std::uint64_t id)
{
    vdb::search_options options;
    options.filter = vdb::filter::except({&id, 1});
    std::printf("%-10s", words.at(id).c_str());
    for (const auto& [neighbour, distance] : index.search(index.get(id), 8, options))
        std::printf("  %s %.3f", words.at(neighbour).c_str(), static_cast<double>(distance));
    std::printf("\n");
}

int run(const std::vector<std::string>& arguments)
{
    if (arguments.size() < 2) {
        std::fprintf(stderr, "usage: words INDEX DATA [WORD...]\n");
        return 2;
    }
    const auto words = read_lines(arguments[1] + "/words.txt");
    std::unordered_map<std::string_view, std::uint64_t> id_of;
    for (std::uint64_t id = 0; id < words.size(); ++id)
        id_of.emplace(words[id], id);

    std::vector<std::string> asked(arguments.begin() + 2, arguments.end());
    if (asked.empty())
        asked = {"king", "guitar", "paris", "running", "seven"};
    const auto index = open_or_build(arguments[0], arguments[1]);
    for (const std::string& word : asked) {
        const auto known = id_of.find(word);
        if (known == id_of.end())
            std::printf("%-10s  is not among the %zu words\n", word.c_str(), words.size());
        else
            print_neighbours(index, words, known->second);
    }
    return 0;
}

} // namespace

int main(int argc, char** argv)
{
    try {
        return run(std::vector<std::string>(argv + 1, argv + argc));
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "words: %s\n", failure.what());
        return 1;
    }
}
