// Print the script or the stub of a Nextflow process, with its variables filled in.
//   groovy nextflow_process.groovy main.nf script|stub NAME=VALUE ...
// Nextflow processes are Groovy; the words of its language are answered here by their names.
class Words {
    Map values = [:]
    def getProperty(String name) { values.containsKey(name) ? values[name] : name }
    void setProperty(String name, value) { values[name] = value }
    def invokeMethod(String name, args) {
        if (name == 'error') throw new IllegalStateException(args[0] as String)
        name == 'template' ? "template: ${args[0]}" : name
    }
}

def (file, part) = [new File(args[0]), args[1]]
def given = args.drop(2).collectEntries { it.split('=', 2) as List }
def ext = given.findAll { it.key.startsWith('ext.') }.collectEntries { [it.key - 'ext.', it.value] }
def words = new Words()
words.@values = given + [
    meta: [id: given.id], task: [ext: ext, cpus: given.cpus, process: given.process],
    moduleDir: file.parent, workflow: [containerEngine: 'docker'],
]

def text = file.text
def name = (text =~ /process (\w+)/)[0][1]
def (input, script, stub) = ['input', 'script', 'stub'].collect { text.indexOf("    ${it}:") }
// Directives need a later Groovy; and a closure holds one part, as both may declare the same names.
text = "process ${name} {\n" + text[input..<script] + (part == 'script' ? text[script..<stub] + '}' : text[stub..-1])

def shell = new GroovyShell(new Binding(process: { it }))
shell.setVariable(name, { body ->
    body.delegate = words
    body.resolveStrategy = Closure.DELEGATE_FIRST
    print body()
})
shell.evaluate(text)
